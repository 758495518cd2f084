"""Which results are errors, of what class, and which of them time will heal."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["error_class", "is_transient"]

_HEAD: Final = 300
_LONGEST_FAULT: Final = 1_000
_LONGEST_REMARK: Final = 200
"""A longer text that speaks of a timeout, and is no error, is a page about timeouts."""

_OPENINGS: Final = (
    "error",
    "exception",
    "traceback",
    "fatal:",
    "failed",
    "failure",
    "bash:",
    "sh:",
    "/bin/",
    '{"error"',
)
_NAMED: Final = re.compile(r"[a-z0-9_.]{0,80}(?:error|exception)\b")
_QUOTED: Final = re.compile(r"'[^'\n]{0,200}'|\"[^\"\n]{0,200}\"|`[^`\n]{0,200}`")
_NUMBER: Final = re.compile(r"[0-9]+")

_PASSING: Final = (
    "rate limit",
    "ratelimit",
    "rate_limit",
    "too many requests",
    "timed out",
    "timeouterror",
    "deadline exceeded",
    "service unavailable",
    "serviceunavailable",
    "temporarily unavailable",
    "overloaded",
    "connection refused",
    "connection reset",
    "connection aborted",
    "connection error",
    "connectionerror",
    "econnre",
    "econnabort",
    "etimedout",
    "bad gateway",
    "internal server error",
    "internalservererror",
)
_CODE: Final = r"(?:429|50[0-9]|51[01]|52[0-9]|530)(?![0-9.]|:[0-9])"
# A bare number may be a line's or a row's: it counts at the head, where only the error's name may stand before it.
_FAULT: Final = r"[a-z0-9_.]{0,80}(?:error|exception|failed|failure|fatal)\W{1,4}"
_HEADED: Final = re.compile(rf"\W{{0,4}}(?:{_FAULT})?{_CODE}")
_STATED: Final = re.compile(rf"(?:status|code|http)\W{{0,4}}(?:code\W{{0,4}})?(?:1\.[01] |2 )?{_CODE}")
_REASON: Final = re.compile(rf"\s*{_CODE}(?:\s*$|\W{{1,3}}(?:[A-Z]|no healthy|upstream|server|service|gateway))")


def error_class(text: str, *, failed: bool = False) -> str:
    """What kind of error a result is: its first line, or a traceback's last, without what it names; empty: none.

    Args:
        text: The result.
        failed: The message itself says that it is an error.
    """
    head = text[:_HEAD].lstrip().lower()
    if not (failed or head.startswith(_OPENINGS) or _NAMED.match(head) or "command not found" in head):
        return ""
    if "traceback (most recent call last)" in head:
        line = text[-_HEAD:].rstrip().lower().rpartition("\n")[2]
    else:
        line = head.partition("\n")[0]
    # The whole of a JSON error is in quotes.
    return _NUMBER.sub("~", line if line.startswith("{") else _QUOTED.sub("~", line))[:120] or "error"


def is_transient(text: str, error: str) -> bool:
    """Whether waiting may heal it: rate limits, server errors, timeouts, lost connections; no loop then."""
    if len(text) > (_LONGEST_FAULT if error else _LONGEST_REMARK):
        return False
    head = text[:_HEAD].lower()
    if any(word in head for word in _PASSING) or _STATED.search(head) or _REASON.match(text):
        return True
    return bool(error) and ("timeout" in head or _HEADED.match(head) is not None)
