"""Evidence and rules for runs that repeat themselves; pure, but for the model that `semantic` reads."""
