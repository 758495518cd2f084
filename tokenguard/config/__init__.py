"""Settings: argument > environment > `tokenguard.toml`, and where the ledger is when nobody says."""
