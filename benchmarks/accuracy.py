"""Does a model answer as well from folded results? The accuracy kit behind a change of the default level.

Every question has an answer that code checks. The same conversation (question, tool call, tool result) goes through
three guards, with prompts as they are, `compact` and `lossless`, so that what is asked is what the product sends.

    python benchmarks/accuracy.py --model openai/gpt-5-mini --count 200 --budget 5 --write
    python benchmarks/accuracy.py --model hosted_vllm/Qwen/Qwen3-8B --api-base http://localhost:8000/v1 --write

Without `--model` a reader that decodes results by the package's own functions answers from a local model server: that
shows that the kit works and that nothing is lost, not that a model reads well. The default level changes only where
`lossless` answers at most two percent fewer questions than the prompts as they are (lower 95 % bound of the pairs).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accuracy_questions import Question, decoded, questions
from figures import RESULTS, machine

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply

LEVELS = ("off", "compact", "lossless")
MARGIN_PERCENT = 2.0
SYSTEM = (
    "Answer from the tool's result alone. End with one line: ANSWER: followed by the bare value, without quotes, units "
    "or explanation."
)
_ANSWER = re.compile(r"ANSWER:\s*(.+?)\s*$", re.MULTILINE)
_READER = "openai/reader"
_READER_PRICE = {
    "prices": {_READER: {"input": "1", "output": "1", "output_tokens_max": 1_000, "context_tokens": 200_000}}
}


@dataclass(frozen=True)
class Asked:
    """One question at one level."""

    question: Question
    level: str
    said: str
    is_right: bool
    tokens: int
    usd_pico: int


def conversation(question: Question) -> list[dict[str, Any]]:
    """As an agent has it when it answers."""
    call = {"id": "call_1", "type": "function", "function": {"name": "fetch", "arguments": "{}"}}
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question.text},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": question.payload},
    ]


def normal(text: str) -> str:
    """An answer without what models like to put around it."""
    return text.strip().strip("`*\"'.").replace(",", "").removeprefix("$").casefold()


def asked(question: Question, level: str, model: str, guard: tg.Guard, options: dict[str, Any]) -> Asked:
    """One paid call."""
    reply = guard.completion(model, conversation(question), max_tokens=options.pop("max_tokens", 400), **options)
    receipt = tg.receipt_of(reply)
    text = reply.choices[0].message.content or ""
    found = _ANSWER.findall(text)
    said = found[-1] if found else text.strip().split("\n")[-1]
    right = normal(said) == normal(question.answer)
    usage = receipt.usage if receipt else None
    return Asked(question, level, said, right, usage.input_total if usage else 0, receipt.cost.pico if receipt else 0)


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in percent."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return 100 * (middle - half), 100 * (middle + half)


def difference(before: Sequence[Asked], after: Sequence[Asked]) -> tuple[float, float]:
    """How many percent more questions the second level answers, and the lower 95 % bound, by pairs."""
    count = len(before)
    gained = sum(new.is_right and not old.is_right for old, new in zip(before, after, strict=True))
    lost = sum(old.is_right and not new.is_right for old, new in zip(before, after, strict=True))
    mean = (gained - lost) / count
    # One pair is added to both sides, so that no discordant pair does not mean no doubt.
    variance = ((gained + lost + 1) / count - mean * mean) / count
    return 100 * mean, 100 * (mean - 1.96 * math.sqrt(max(variance, 0.0)))


def reader(request: Any) -> Reply:
    """Answers from the decoded result; knows which question is meant by its text."""
    question = _OPEN[request.messages[1]["content"]]
    return Reply(f"ANSWER: {question.solve(decoded(request.messages[-1]['content']))}")


_OPEN: dict[str, Question] = {}


def run(model: str, asks: Sequence[Question], budget: str, options: dict[str, Any], prices: Any) -> list[Asked]:
    """All questions at all levels."""
    found: list[Asked] = []
    for level in LEVELS:
        guard = tg.Guard(database="memory", prompt=level, prices=prices, loops=False)  # type: ignore[arg-type]  # a level
        with guard, guard.run(f"accuracy {level}", budget=tg.Budget(usd=budget)):
            for at, question in enumerate(asks):
                _OPEN[question.text] = question
                found.append(asked(question, level, model, guard, dict(options)))
                if at % 20 == 19:
                    print(f"{level}: {at + 1} of {len(asks)}", file=sys.stderr, flush=True)
    return found


def report(found: list[Asked], model: str) -> dict[str, Any]:
    """What was found, as it is recorded."""
    by_level = {level: [one for one in found if one.level == level] for level in LEVELS}
    rows: dict[str, Any] = {}
    for level, answers in by_level.items():
        right = sum(one.is_right for one in answers)
        low, high = interval(right, len(answers))
        kinds = sorted({one.question.kind for one in answers})
        rows[level] = {
            "right": right,
            "of": len(answers),
            "percent": round(100 * right / len(answers), 1),
            "interval": [round(low, 1), round(high, 1)],
            "input_tokens": sum(one.tokens for one in answers),
            "usd": str(tg.Money.from_pico(sum(one.usd_pico for one in answers)).usd),
            "by_kind": {
                kind: f"{sum(one.is_right for one in answers if one.question.kind == kind)}/"
                f"{sum(one.question.kind == kind for one in answers)}"
                for kind in kinds
            },
        }
    mean, bound = difference(by_level["off"], by_level["lossless"])
    return {
        "benchmark": "accuracy",
        **machine(),
        "model": model,
        "levels": rows,
        "lossless_minus_off_percent": round(mean, 2),
        "lower_bound_percent": round(bound, 2),
        "may_become_default": model != _READER and bound >= -MARGIN_PERCENT,
    }


def main() -> int:
    """Ask, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as LiteLLM takes it; none: the reader at a local model server")
    parser.add_argument("--api-base", help="of a self-hosted model")
    parser.add_argument("--count", type=int, default=200, help="questions at each level")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", default="5", help="dollars at each level, a hard cap")
    parser.add_argument("--prices", help="a price file, for models that no source lists")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    given = parser.parse_args()
    asks = questions(given.seed, given.count)
    if given.model:
        options = {"api_base": given.api_base} if given.api_base else {}
        document = report(run(given.model, asks, given.budget, options, given.prices), given.model)
    else:
        with ModelServer(reader) as server:
            options = {"api_base": server.url, "api_key": "none"}
            document = report(run(_READER, asks, given.budget, options, _READER_PRICE), _READER)
    print(json.dumps(document, indent=2, ensure_ascii=False))
    if given.write:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", document["model"])
        (RESULTS / f"accuracy_{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return int(document["lower_bound_percent"] < -MARGIN_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
