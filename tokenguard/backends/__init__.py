"""Reaching models: LiteLLM, and a scripted double for tests. Backends know no money."""
