"""The guarded call: who pays, what it may cost, and what it came to."""
