"""tokenguard."""
