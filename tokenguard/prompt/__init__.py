"""Send less, lose nothing: folding, structured prompts and the prices that decide."""
