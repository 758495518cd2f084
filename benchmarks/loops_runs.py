"""Recorded agent runs as conversations: what an agent asked for, what it got, and whether the run succeeded."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHORTEST = 4
"""Shorter runs cannot show four equal rounds."""

_XML_CALL = re.compile(r"<function=(\w+)>(.*?)</function>", re.DOTALL)
_XML_FIELD = re.compile(r"<parameter=(\w+)>(.*?)</parameter>", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One round: the call, its result, and the thought that came with it."""

    tool: str
    arguments: str
    result: str
    thought: str = ""

    @property
    def action(self) -> tuple[str, str]:
        return self.tool, self.arguments


@dataclass(frozen=True)
class Run:
    """`succeeded` is None where nobody judged the run."""

    source: str
    succeeded: bool | None
    messages: tuple[dict[str, Any], ...]
    steps: tuple[Step, ...]


def folder(root: Path) -> Path:
    """Where the recorded runs are: beside the checkout, or beside the one that a worktree belongs to."""
    places = [parent / "shared" / "data" / "trajectories" for parent in root.resolve().parents]
    return next((place for place in places if place.is_dir()), places[0])


def runs(at: Path) -> list[Run]:
    """All recorded runs of at least four rounds."""
    found: list[Run] = []
    for path in sorted(at.glob("*.gz")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
        if path.name.startswith("intercode"):
            found += _intercode(json.loads(text), "InterCode " + ("SQL" if "sql" in path.name else "bash"))
        elif path.name.startswith("tau"):
            found += _tau(json.loads(text))
        elif path.name.endswith(".traj.gz"):
            found.append(_traj(json.loads(text)))
        else:
            for line in text.splitlines():
                record = json.loads(line)
                found.append(_openhands(record) if "history" in record else _xml(record))
    return [run for run in found if len(run.steps) >= SHORTEST]


def conversation(steps: list[Step], task: str = "do it") -> tuple[dict[str, Any], ...]:
    """The steps as a chat with tool calls."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for number, step in enumerate(steps):
        function = {"name": step.tool, "arguments": step.arguments}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": step.thought or None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": step.result})
    return tuple(messages)


def _run(source: str, steps: list[Step], *, succeeded: bool | None) -> Run:
    return Run(source, succeeded, conversation(steps), tuple(steps))


def _intercode(episodes: dict[str, Any], source: str) -> Iterator[Run]:
    for episode in episodes.values():
        turns = episode["turn_history"]
        tool = "query" if "sql" in episode["environment"] else "bash"
        steps = [
            Step(tool, json.dumps({"command": action}), str(observation))
            for action, observation in zip(turns["actions"], turns["observations"], strict=True)
        ]
        succeeded = episode["summary"]["max_reward"] == 1 or turns["rewards"][-1:] == [1]
        yield _run(source, steps, succeeded=succeeded)


def _tau(records: list[dict[str, Any]]) -> Iterator[Run]:
    for record in records:
        steps: list[Step] = []
        results = {one.get("tool_call_id"): one["content"] for one in record["traj"] if one["role"] == "tool"}
        for message in record["traj"]:
            for call in message.get("tool_calls") or ():
                function = call["function"]
                result = results.get(call["id"], "")
                steps.append(Step(function["name"], function["arguments"], result, message.get("content") or ""))
        yield Run("tau-bench", record["reward"] == 1, tuple(record["traj"]), tuple(steps))


def _traj(record: dict[str, Any]) -> Run:
    steps = [
        Step("shell", json.dumps({"command": one["action"]}), str(one["observation"]), one.get("thought") or "")
        for one in record["trajectory"]
    ]
    return _run("SWE agents", steps, succeeded=None)


def _xml(record: dict[str, Any]) -> Run:
    steps: list[Step] = []
    for message, answer in zip(record["messages"], record["messages"][1:], strict=False):
        for tool, body in _XML_CALL.findall(str(message["content"])) if message["role"] == "assistant" else ():
            arguments = json.dumps(dict(_XML_FIELD.findall(body)))
            steps.append(Step(tool, arguments, str(answer["content"]), str(message["content"])))
    return _run("SWE agents", steps, succeeded=None)


def _openhands(record: dict[str, Any]) -> Run:
    steps: list[Step] = []
    asked: dict[str, Any] | None = None
    for event in record["history"]:
        if "observation" not in event:
            asked = event
        elif asked is not None and asked.get("action") not in ("message", "system", "recall"):
            given = asked.get("args") or {name: asked[name] for name in ("command", "code", "path") if name in asked}
            fields = {name: value for name, value in given.items() if name != "thought"}
            thought = str(asked.get("thought") or given.get("thought") or "")
            steps.append(Step(str(asked["action"]), json.dumps(fields), str(event.get("content", "")), thought))
            asked = None
    return _run("OpenHands", steps, succeeded=record.get("success"))
