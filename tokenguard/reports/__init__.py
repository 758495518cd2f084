"""Reading the books: spend, runs, budgets and unpriced models as tables, JSON and CSV; `cli` prints them."""
