"""Pure evidence and rules for runs that repeat themselves."""
