"""Text of tools: tokens saved by folding lines, on logs of twelve kinds, path lists, test runs and recorded shells.

Every folded text is read back and compared byte for byte. Files, search listings, diffs and code must stay as they are.
Tokens are o200k's; recorded data is in ../shared, and is left out where it is not there.

Bars: every text exact; every log kind smaller; path lists smaller; nothing protected changed; recorded shell output at
least 20 % smaller; of recorded test runs every failing id kept literally, and at least 20 % saved with passing tests
counted. Run: `make bench-prompts`.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from figures import Figures, quantile
from fold_json import tokens
from fold_logs import KINDS, log
from fold_runs import talks

from tokenguard.prompt.lines import Kind, clean, fold, kind_of, unfold
from tokenguard.prompt.lines.kinds import PROTECTED
from tokenguard.prompt.trimming import trim

LINES = 400
FUZZED = 50_000
SHELLS = ("InterCode bash", "SWE-agent", "SWE-smith XML", "OpenHands")
_FAILING = re.compile(
    r"^(?:FAILED|ERROR):? (\S+)|^(\S+::\S+) (?:FAILED|ERROR)\b|^(\S+ \(\S+\)) \.\.\. (?:FAIL|ERROR)", re.MULTILINE
)


def folded(text: str) -> str:
    """As it would be sent at level `lossless`."""
    short = clean(text)
    return fold(short) or short


def is_exact(text: str) -> bool:
    short = clean(text)
    made = fold(short)
    return made is None or unfold(made) == short


def saved(texts: Iterable[str]) -> float:
    """Percent of tokens, over all."""
    before = after = 0
    for text in texts:
        count = tokens(text)
        before += count
        after += min(count, tokens(folded(text)))
    return 100 * (1 - after / max(1, before))


def logs(figures: Figures) -> None:
    """Each kind of log by itself, and their mean."""
    found: list[float] = []
    for kind in KINDS:
        text = log(kind, LINES)
        found.append(saved([text]))
        figures.add(f"log, {kind}: saved", found[-1], "%", at_least=0.01)
        figures.add(f"log, {kind}: not exact", not is_exact(text), "", at_most=0)
    figures.add("logs, mean of all kinds: saved", sum(found) / len(found), "%")


def paths(figures: Figures) -> None:
    """`find`, with folders and without."""
    dice = random.Random(1)
    folders = [
        f"./src/{'/'.join(dice.choice(('core', 'api', 'web', 'tests', 'deep')) for _ in range(depth))}"
        for depth in range(1, 6)
    ]
    files = sorted({f"{folder}/module_{dice.randint(1, 400)}.py" for folder in folders for _ in range(60)})
    for name, text in (("files", "\n".join(files)), ("files and folders", "\n".join(sorted({*files, *folders})))):
        figures.add(f"paths, {name}: saved", saved([text]), "%", at_least=0.01)
        figures.add(f"paths, {name}: not exact", not is_exact(text), "", at_most=0)


def recorded(shared: Path, figures: Figures) -> None:
    """What recorded agents read in their shells."""
    results = [
        (talk.family, one.text)
        for talk in talks(shared / "trajectories")
        for one in talk.said
        if one.who == "result" and one.text.lstrip()[:1] not in ("{", "[")
    ]
    shells = [text for family, text in results if family in SHELLS]
    changed = sum(folded(text) != text for text in shells if kind_of(text) in PROTECTED)
    figures.add(
        f"recorded: protected texts changed, of {sum(kind_of(text) in PROTECTED for text in shells)}",
        changed,
        "",
        at_most=0,
    )
    figures.add(
        f"recorded: not exact, of {len(results)}", sum(not is_exact(text) for _, text in results), "", at_most=0
    )
    for family in SHELLS:
        mine = [text for name, text in results if name == family]
        figures.add(f"recorded, {family}: saved of all output", saved(mine), "%")
    free = [text for text in shells if kind_of(text) not in PROTECTED]
    figures.add("recorded shells, what is not protected: saved", saved(free), "%", at_least=20.0)
    elapsed = []
    for text in [text for _, text in results if len(text) >= 200]:
        count, began = tokens(text), time.perf_counter()
        folded(text)
        elapsed.append((time.perf_counter() - began) * 1e7 / count)
    figures.add("recorded results, clean and fold, per 10,000 tokens (p50)", quantile(elapsed, 0.5), "ms")
    figures.add(
        "recorded results, clean and fold, per 10,000 tokens (p99)", quantile(elapsed, 0.99), "ms", at_most=30.0
    )


def test_runs(shared: Path, figures: Figures) -> None:
    """Recorded test runs: exactly, and with passing tests counted."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((shared / "tool_outputs" / "testlogs").glob("*.txt"))]
    before = sum(map(tokens, texts))
    exact = [folded(text) for text in texts]
    counted = [short.text if (short := trim(clean(text), keep_chars=10**9)) else clean(text) for text in texts]
    failing = [(text, name) for text in texts for found in _FAILING.findall(text) for name in found if name]
    places = {text: at for at, text in enumerate(texts)}
    figures.add(
        "test runs, exact: saved",
        100 * (1 - sum(min(tokens(a), tokens(b)) for a, b in zip(exact, texts, strict=True)) / before),
        "%",
    )
    figures.add(
        "test runs, passing tests counted: saved", 100 * (1 - sum(map(tokens, counted)) / before), "%", at_least=20.0
    )
    lost = sum(name not in counted[places[text]] for text, name in failing)
    figures.add(f"test runs: failing ids lost, of {len(failing)}", lost, "", at_most=0)


def fuzz(figures: Figures) -> None:
    """Random lines, our own marks among them."""
    dice = random.Random(3)
    pieces = [
        *(
            "",
            "\\",
            "--",
            "*3",
            "1 2",
            "[paths as a tree]",
            "a/b/c.py",
            "a/b",
            "./src",
            "/",
            "//",
            "/.",
            "a/ b",
            " lead",
        ),
        *(
            "error 12",
            "error 13",
            "\x1b[31mred\x1b[0m",
            "a\rb",
            "é",
            "\x00",
            "\ud800",
            "2024-01-01T00:00:00Z INFO x 1.5",
        ),
    ]
    wrong = made = 0
    for _ in range(FUZZED):
        some = dice.choice((pieces, dice.sample(pieces, 4)))
        text = "\n".join(
            dice.choice(some) + dice.choice(("", str(dice.randint(0, 99)))) for _ in range(dice.randint(1, 30))
        )
        made += fold(text) is not None
        wrong += not is_exact(text)
    figures.add(f"random texts not exact, of {FUZZED:,}", wrong, "", at_most=0)
    figures.add("random texts that were folded", made, "")


def main() -> int:
    figures = Figures("fold_text", "Tokens by o200k; exact: reads back byte for byte.")
    logs(figures)
    paths(figures)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    if shared.is_dir():
        recorded(shared, figures)
        test_runs(shared, figures)
    else:
        print("The recorded outputs are not here (shared/data beside the checkout): only generated texts are measured.")
    fuzz(figures)
    assert Kind.LOG not in PROTECTED, "logs are what this measures"
    return figures.finish()


if __name__ == "__main__":
    sys.exit(main())
