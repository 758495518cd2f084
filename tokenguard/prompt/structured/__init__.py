"""Structured prompts: a role, rules, examples and a schema, in few tokens, with an answer that is checked."""
