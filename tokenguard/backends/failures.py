"""What an exception says about money: was anything generated for certain, and may the call be tried again?

LiteLLM's own classes and status numbers cannot be believed here: a connection that was cut after sending comes out as
`InternalServerError` with status 500 and an invented response. So the question is asked of the causes underneath:

1. A real answer: `httpx.HTTPStatusError`, which carries the response that came.
2. No connection: refused, DNS, TLS, a timeout while connecting. Nothing was sent.
3. A connection that broke or fell silent afterwards: nobody knows what the provider generated.

Classes are recognized by name, so that nothing is imported to look at an error.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.ports import Failure
from tokenguard.errors import TokenguardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenguard.core.clock import Clock

__all__ = ["failure"]

_UNBILLED_5XX: Final = frozenset({500, 502, 503, 529})
_SILENT: Final = frozenset({408, 504, 524})
_RETRYABLE: Final = _UNBILLED_5XX | _SILENT | {429}
_REQUEST_TIMEOUT: Final = 408
_HOPELESS_CODES: Final = ("insufficient_quota", "billing_hard_limit_reached")

_NOT_CONNECTED: Final = frozenset(
    {
        "httpx.ConnectTimeout",
        "httpx.PoolTimeout",
        "httpcore.ConnectError",
        "httpcore.ConnectTimeout",
        "httpcore.PoolTimeout",
        "aiohttp.ClientConnectorError",
        "aiohttp.ConnectionTimeoutError",
        "socket.gaierror",
    }
)
"""Not `httpx.ConnectError`: LiteLLM's aiohttp transport raises it for a reset while reading, too."""
_BROKEN: Final = frozenset(
    {
        "httpx.ReadError",
        "httpx.ReadTimeout",
        "httpx.RemoteProtocolError",
        "httpx.WriteError",
        "httpx.WriteTimeout",
        "aiohttp.ClientOSError",
        "aiohttp.ClientPayloadError",
        "aiohttp.ServerDisconnectedError",
        "aiohttp.SocketTimeoutError",
    }
)
_TRANSPORTS: Final = frozenset(
    {"httpx", "httpcore", "aiohttp", "anyio", "h11", "socket", "ssl", "builtins", "asyncio", "concurrent"}
)
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray")
_ID_MAX_CHARS: Final = 128


def failure(error: BaseException, clock: Clock, handling: BaseException | None = None) -> Failure:
    """Judge an exception that came out of a send or a stream.

    Args:
        error: As LiteLLM raised it, with its causes.
        clock: For `Retry-After` headers that name a date.
        handling: What the caller was handling when it sent: the chain ends there.
    """
    chain = tuple(_chain(error, handling))
    answer = _answer(chain)
    if answer is not None:
        return _from_answer(error, chain, answer, clock)
    billed, retryable = _without_answer(error, chain)
    # A status without an answer is LiteLLM's invention, unless it refused the request itself.
    refused = not billed and not retryable
    return Failure(
        billed=billed,
        retryable=retryable,
        error_class=type(error).__name__,
        status=_own_status(error) if refused else None,
    )


def _from_answer(error: BaseException, chain: tuple[BaseException, ...], answer: Any, clock: Clock) -> Failure:
    """A complete error answer of the provider."""
    status = int(answer.status_code)
    # OpenAI's own client parses the code; elsewhere it stands in the answer's text, which LiteLLM puts into the error.
    codes = {getattr(one, "code", None) for one in chain}
    hopeless = any(code in codes or code in str(error) for code in _HOPELESS_CODES)
    return Failure(
        billed=status in _SILENT or not (_is_client_error(status) or status in _UNBILLED_5XX),
        retryable=status in _RETRYABLE and not hopeless,
        error_class=type(error).__name__,
        status=status,
        request_id=next(
            (str(answer.headers[name])[:_ID_MAX_CHARS] for name in _REQUEST_IDS if name in answer.headers), None
        ),
        retry_after_s=_retry_after_s(answer.headers, clock),
    )


def _without_answer(error: BaseException, chain: tuple[BaseException, ...]) -> tuple[bool, bool]:
    """Whether it may be billed, and whether to try again, when no answer came."""
    if not isinstance(error, Exception):
        return True, False  # cancelled or interrupted: the provider may go on generating
    stages = {_stage(one) for one in chain}
    if _BROKEN in stages:
        return True, True
    if _NOT_CONNECTED in stages:
        return False, True
    if any(isinstance(one, (TokenguardError, ImportError, UnicodeEncodeError)) for one in chain):
        return False, False  # ours, a provider's package is missing, or a lone surrogate: nothing was sent
    status = _own_status(error)
    if status is not None and _is_client_error(status) and status != _REQUEST_TIMEOUT:
        return False, False  # LiteLLM refused the request itself: unsupported parameters, a missing key
    return True, status == _REQUEST_TIMEOUT


def _stage(error: BaseException) -> frozenset[str] | None:
    """Which of the two sets an error belongs to; aiohttp's connector errors are also its `ClientOSError`."""
    names = set(_names(error))
    return next((stage for stage in (_NOT_CONNECTED, _BROKEN) if stage & names), None)


def _is_client_error(status: int) -> bool:
    return 400 <= status < 500  # noqa: PLR2004  # HTTP's own numbers


def _own_status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _answer(chain: tuple[BaseException, ...]) -> Any:
    """The response that really came, or None."""
    return next((getattr(one, "response", None) for one in chain if "httpx.HTTPStatusError" in _names(one)), None)


def _chain(error: BaseException, handling: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, as far as they belong to it.

    LiteLLM chains by `__context__`, which also holds whatever the caller was handling when it called us. Below a
    transport's error only other transport errors are its own causes; anything else is somebody else's story.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    below_transport = False
    while one is not None and one is not handling and id(one) not in seen:
        transport = type(one).__module__.partition(".")[0] in _TRANSPORTS and one is not error
        if below_transport and not transport:
            return
        seen.add(id(one))
        yield one
        below_transport = below_transport or transport
        # LiteLLM keeps the provider's error in an attribute where a stream broke off.
        one = one.__cause__ or one.__context__ or getattr(one, "original_exception", None)


def _names(error: BaseException) -> Iterator[str]:
    """`package.Class` for an exception and its bases, wherever in the package they are defined."""
    for cls in type(error).__mro__:
        yield f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def _retry_after_s(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Seconds to wait, from `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date; None: not said."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / scale
        except ValueError:
            seconds = _until(text, clock)
        if seconds >= 0:  # NaN is not
            return seconds
    return None


def _until(date: str, clock: Clock) -> float:
    """Seconds until an HTTP date, 0 for one that is past, NaN for what is no date."""
    try:
        instant = parsedate_to_datetime(date)
    except ValueError:
        return float("nan")
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return max(0.0, (aware - clock.now()).total_seconds())
