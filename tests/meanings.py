"""A real model2vec model of a few dozen words, in which synonyms mean the same. For tests of similar answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SYNONYMS = (
    ("build", "compilation", "job"),
    ("running", "active", "ongoing"),
    ("still", "yet", "currently"),
    ("wait", "pause", "hold"),
    ("finish", "end", "complete"),
    ("invoice", "bill"),
    ("paid", "settled"),
    ("customer", "client"),
    ("weather", "climate"),
    ("sunny", "bright"),
    ("database", "table"),
    ("empty", "vacant"),
)
WAITING = (
    "The build is still running, so I will wait for it to finish.",
    "Since the job is currently active, I pause until its end.",
    "A compilation is ongoing yet; let me hold until it is complete.",
    "The job is still ongoing, so I will pause until it can finish.",
)
OTHERS = (
    "The invoice was paid by the customer on the first of May.",
    "It is sunny today, and the weather will stay like that.",
    "The database that you asked me about seems to be empty now.",
    "The build is running, says the log of this very machine here.",
)


def tiny_model(folder: Path) -> Path:
    """Write the model; each group of synonyms is a direction of its own, a little scattered."""
    words = ["[UNK]", *(word for group in SYNONYMS for word in group)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    places = [place for place, group in enumerate(SYNONYMS) for _ in group]
    vectors = np.random.default_rng(7).normal(0, 0.05, (len(words), len(SYNONYMS))).astype("float32")
    vectors[np.arange(1, len(words)), places] += 1
    StaticModel(vectors, tokenizer).save_pretrained(folder)
    return folder
