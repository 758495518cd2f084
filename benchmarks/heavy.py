"""Libraries that take long to import: `import tokenguard` loads none of them. For imports.py, and for a test."""

HEAVY = (
    "alembic",
    "genai_prices",
    "httpx",
    "litellm",
    "model2vec",
    "numpy",
    "opentelemetry",
    "pydantic",
    "rich",
    "sqlalchemy",
    "tiktoken",
    "typer",
)
