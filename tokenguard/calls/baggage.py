"""W3C baggage: the current run's token rides on requests to hosts that the user listed, and is read where trusted.

https://www.w3.org/TR/baggage/: one header, members `key=value` separated by commas. Ours is one member among those of
others, whose bytes are kept as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tokenguard.calls.effects import Book, Flow, ask
from tokenguard.calls.join import make_token
from tokenguard.core.untrusted import mapping_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tokenguard.calls.attempt import Attempt
    from tokenguard.calls.parts import Parts
    from tokenguard.core.ports import Request

__all__ = ["MEMBER", "hosts_of", "token_in", "with_baggage"]

HEADER: Final = "baggage"
MEMBER: Final = "tokenguard-run"


def hosts_of(names: Iterable[str]) -> frozenset[str]:
    """Hosts as they are compared: `api.internal` stands for any port, `api.internal:8443` for that one."""
    return frozenset(name.strip().lower() for name in names if name.strip())


def with_baggage(request: Request, attempt: Attempt, parts: Parts) -> Flow[Request]:
    """The request, with the run's token where it leads to a listed host; a provider's own endpoint is never listed."""
    node = attempt.call.node
    if node is None or not _listed(attempt.endpoint, parts.baggage_hosts):
        return request
    run_id = node.run.id
    token = yield from ask(Book(lambda _: make_token(run_id, parts)))
    headers = dict(mapping_of(request.arguments.get("extra_headers")))
    given = [name for name in headers if name.lower() == HEADER]
    members = [member for name in given for member in _members(str(headers.pop(name)))]
    headers[HEADER] = ",".join([*members, f"{MEMBER}={token}"])
    return replace(request, arguments={**request.arguments, "extra_headers": headers})


def token_in(headers: Mapping[str, str]) -> str | None:
    """The run's token in a request's headers, whatever the case of their names; None: there is none."""
    for name, value in headers.items():
        if name.lower() == HEADER:
            for member in value.split(","):
                key, _, rest = member.partition("=")
                if key.strip() == MEMBER:
                    return rest.partition(";")[0].strip()
    return None


def _listed(endpoint: str | None, hosts: frozenset[str]) -> bool:
    if endpoint is None or not hosts:
        return False
    place = urlsplit(endpoint)
    return (place.hostname or "") in hosts or place.netloc.rpartition("@")[2].lower() in hosts


def _members(value: str) -> list[str]:
    """Members of others; one of ours that was handed on from an outer call would name another run."""
    return [one for one in value.split(",") if one.strip() and one.partition("=")[0].strip() != MEMBER]
