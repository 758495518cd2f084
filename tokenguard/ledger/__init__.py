"""The books: every hold, charge and correction, in memory or in SQL, with the same promises.

`MemoryLedger` (memory.py) and `SqlLedger` (sql.py) implement `core.ports.Ledger`. Nothing is imported here, so that a
guard in memory never loads SQLAlchemy.
"""
