"""Lossless JSON: tokens of our tables beside TOON, JSON without blanks, YAML and CSV, on recorded tool outputs.

Every document is read back and compared, and a hundred thousand random ones beside, half of them spelled as Python
would not (1.50, 1E5, -0, escapes, blanks anywhere) or damaged (NaN, a key twice, half of a surrogate pair, NUL).
Tokens are o200k's. TOON is the `toons` package in an environment of its own (`benchmarks/prompts/requirements.txt`),
given as the first argument's interpreter; without it the column is left out. CSV is counted where a set can be written
as CSV at all: lists of objects that hold nothing but objects and plain values.

Bars: on every set at most as many tokens as each of the others; at least 33 % fewer than `json.dumps` on the tau-bench
outputs; every document exact. Run: `make bench-prompts`.
"""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # LiteLLM brings it, without types
from figures import Figures, quantile
from fold_sets import json_sets, random_document, random_text, without_blanks

from tokenguard.counting.encodings import O200K, load
from tokenguard.prompt.tables import fold, minify, unfold

FUZZED = 100_000
SHORTEST = 200
"""Shorter results are not folded at all."""
SEED = 20_261_201
_TOON = """
import json, sys, toons
for line in sys.stdin:
    print(json.dumps(toons.dumps(json.loads(line))))
"""


def tokens(text: str) -> int:
    """By o200k."""
    encoding = load(O200K)
    assert encoding is not None, "LiteLLM ships the vocabulary"
    return len(encoding.encode_ordinary(text))


def toon(python: str | None, documents: list[Any]) -> list[str] | None:
    """The documents in TOON; None: its package is not there."""
    if python is None or not Path(python).exists():
        print("TOON is left out: benchmarks/prompts/requirements.txt is not installed (make bench-prompts does it).")
        return None
    lines = "".join(json.dumps(one) + "\n" for one in documents)
    done = subprocess.run([python, "-c", _TOON], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_csv(document: Any) -> str | None:
    """A list of objects as CSV, inner objects by dotted names; None: it holds a list, or is none."""
    if not isinstance(document, list) or not document or not all(isinstance(one, dict) for one in document):
        return None
    rows = [_dotted(one) for one in document]
    if any(isinstance(value, list) for row in rows for value in row.values()):
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _dotted(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in value.items():
        if isinstance(one, dict):
            found |= _dotted(one, f"{before}{name}.")
        else:
            found[before + name] = one
    return found


def exact(document: Any, text: str) -> bool:
    """Whether what a text becomes reads back to the document: key order and types included, and to the same text."""
    folded = fold(text)
    if folded is None:
        return True
    back = unfold(folded)
    return back == (minify(text) or text) and json.dumps(json.loads(back)) == json.dumps(document)


def compare(name: str, documents: list[Any], python: str | None, figures: Figures) -> None:
    """One set: everybody's tokens against `json.dumps`."""
    texts = [json.dumps(one) for one in documents]
    plain = sum(map(tokens, texts))
    ours = sum(tokens(fold(text) or text) for text in texts)
    others = {
        "without blanks": sum(tokens(minify(text) or text) for text in texts),
        "YAML": sum(tokens(yaml.safe_dump(one, sort_keys=False, allow_unicode=True)) for one in documents),
    }
    tables = [as_csv(one) for one in documents]
    if all(one is not None for one in tables):
        others["CSV"] = sum(tokens(one or "") for one in tables)
    written = toon(python, documents)
    if written is not None:
        others["TOON"] = sum(map(tokens, written))
    bar = {"at_least": 33.0} if name == "tau-bench tool outputs" else {}
    figures.add(f"{name}: saved against json.dumps", 100 * (1 - ours / plain), "%", **bar)
    for other, count in others.items():
        figures.add(f"{name}: tokens against {other}", ours / count, "x", at_most=1.0)
    wrong = sum(not exact(one, text) for one, text in zip(documents, texts, strict=True))
    figures.add(f"{name}: documents not exact, of {len(documents)}", wrong, "", at_most=0)


def speed(documents: list[Any], figures: Figures) -> None:
    """Folding with its verification, and with both counts, per 10,000 tokens of what comes in."""
    alone: list[float] = []
    counted: list[float] = []
    for text in [json.dumps(one) for one in documents for _ in range(3)]:
        if len(text) < SHORTEST:
            continue
        size = tokens(text)
        began = time.perf_counter()
        folded = fold(text)
        folded_at = time.perf_counter()
        tokens(text)
        tokens(folded or text)
        ended = time.perf_counter()
        alone.append((folded_at - began) * 1e7 / size)
        counted.append((ended - began) * 1e7 / size)
    figures.add("tau-bench outputs, fold, per 10,000 tokens (p50)", quantile(alone, 0.5), "ms")
    figures.add("the same with counting before and after (p50)", quantile(counted, 0.5), "ms", at_most=8.0)
    figures.add("the same with counting before and after (p99)", quantile(counted, 0.99), "ms", at_most=30.0)


def fuzz(figures: Figures) -> None:
    """Random documents as Python writes them, and random texts as other tools could."""
    dice = random.Random(SEED)
    wrong = folded = refused = 0
    for _ in range(FUZZED // 2):
        document = random_document(dice)
        text = json.dumps(document, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, None, 2)))
        folded += "\n" in (fold(text) or "")
        wrong += not exact(document, text)
        text = random_text(dice)
        found = fold(text)
        folded += "\n" in (found or "")
        refused += found is None
        wrong += found is not None and unfold(found) != without_blanks(text)
    figures.add(f"random documents not exact, of {FUZZED:,}", wrong, "", at_most=0)
    figures.add("random documents that became tables", folded, "")
    figures.add("random texts that were refused, or have nothing to lose", refused, "")


def main() -> int:
    figures = Figures("fold_json", "Tokens by o200k; other forms as a ratio: below 1 ours is smaller.")
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    python = next((one for one in sys.argv[1:] if not one.startswith("--")), None)
    if shared.is_dir():
        sets = json_sets(shared)
        for name, documents in sets.items():
            compare(name, documents, python, figures)
        speed(sets["tau-bench tool outputs"], figures)
    else:
        print("The recorded outputs are not here (shared/data beside the checkout): only the random ones are measured.")
    fuzz(figures)
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
