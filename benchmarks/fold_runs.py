"""Recorded agent runs as the prompts that were sent: every message with who said it, for replays of folding."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loops_runs import folder, runs

__all__ = ["FAMILIES", "Said", "Talk", "folder", "talks"]

Who = Literal["system", "user", "agent", "result"]
FAMILIES = ("tau-bench", "SWE-agent", "SWE-smith XML", "OpenHands", "InterCode bash", "InterCode SQL")
TOOL_API = ("tau-bench",)
"""Families whose tools answer in JSON."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message: its text as far as tokens go, and for the agent what it asked its tools for."""

    who: Who
    text: str
    action: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """One run. A request is sent before each message of the agent, with everything before it."""

    family: str
    said: tuple[Said, ...]
    tools: str = ""
    """Tool definitions, which come before everything."""

    @property
    def requests(self) -> list[int]:
        """How many messages each request carries."""
        return [place for place, one in enumerate(self.said) if one.who == "agent" and place]


def talks(at: Path) -> list[Talk]:
    """All recorded runs, by the readers of the loop benchmark where those keep the whole text."""
    found: list[Talk] = []
    tools = at.parent / "schemas" / "tau_tools_airline.json"
    schemas = json.dumps(json.loads(tools.read_text(encoding="utf-8"))) if tools.is_file() else ""
    for path in sorted(at.glob("*.gz")):
        if path.name.startswith("intercode"):
            continue
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
        if path.name.startswith("tau"):
            found += [Talk("tau-bench", tuple(_chat(record["traj"])), schemas) for record in json.loads(text)]
        elif path.name.endswith(".traj.gz"):
            found.append(Talk("SWE-agent", tuple(_turns(json.loads(text)["history"]))))
        else:
            for record in map(json.loads, text.splitlines()):
                family = "OpenHands" if "history" in record else "SWE-smith XML"
                said = _events(record["history"]) if "history" in record else _turns(record["messages"])
                found.append(Talk(family, tuple(said)))
    found += [Talk(run.source, tuple(_chat(run.messages))) for run in runs(at) if run.source.startswith("InterCode")]
    return [talk for talk in found if len(talk.requests) > 1]


def _chat(messages: Iterable[dict[str, Any]]) -> Iterator[Said]:
    """Messages in the shape of the chat API."""
    for message in messages:
        text = _text(message.get("content"))
        if message["role"] == "assistant":
            yield _agent(text, message.get("tool_calls"))
        else:
            yield Said("result" if message["role"] == "tool" else message["role"], text)


def _turns(messages: Iterable[dict[str, Any]]) -> Iterator[Said]:
    """Messages of an agent without tool calls: after its first words, what a user says are results."""
    began = False
    for message in messages:
        text, role = _text(message.get("content")), message["role"]
        if role == "assistant":
            began = True
            calls = message.get("tool_calls")
            yield _agent(text, calls) if calls else Said("agent", text, text)
        elif role == "system":
            yield Said("system", text)
        else:
            yield Said("result" if began else "user", text)


def _events(history: Iterable[dict[str, Any]]) -> Iterator[Said]:
    """OpenHands' events: what it recalls for itself is not sent, and what it ran and saw is."""
    for event in history:
        text = _text(event.get("content"))
        if "observation" in event:
            if event["observation"] not in ("recall", "null"):
                yield Said("result", text)
        elif event.get("action") == "system":
            yield Said("system", _text((event.get("args") or {}).get("content")))
        elif event.get("source") == "user" or (event.get("action") == "message" and "source" not in event):
            if event.get("action") == "message":
                yield Said("user", _text((event.get("args") or event).get("content")))
        else:
            given = event.get("args") or {name: event[name] for name in ("command", "code", "path") if name in event}
            thought = str(given.get("thought") or event.get("thought") or "")
            call = json.dumps({name: value for name, value in given.items() if name != "thought" and value})
            yield Said("agent", f"{thought}\n{call}", call)


def _agent(text: str, calls: Any) -> Said:
    action = "\n".join(f"{call['function']['name']} {call['function']['arguments']}" for call in calls or ())
    return Said("agent", f"{text}\n{action}" if action else text, action)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
