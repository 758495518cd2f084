"""The one error tree. Every deliberate error of tokenguard is here, and nothing else.

TokenguardError(RuntimeError)         stable `.code`, facts as fields, picklable
├─ SpendStopped                       the scope is closed; every later call in it raises this again, unsent
│  ├─ BudgetExceeded                  a cap is spent
│  ├─ LoopDetected                    the run repeats itself
│  ├─ DepthExceeded                   runs nest too deep
│  ├─ FanOutExceeded                  too many children, descendants or spawns
│  ├─ VelocityExceeded                money or tokens flow too fast
│  └─ RunRevoked                      a person or another process closed the run
├─ SpendRefused                       this call was not sent; the run lives
│  ├─ HeadroomBusy                    calls in flight hold the room that is left
│  ├─ CallTooLarge                    the smallest form of this call is above a whole cap
│  ├─ LoopBlocked                     it would repeat what gave the same before
│  ├─ NoEndpoint                      none of the endpoints may answer it now
│  ├─ Unpriceable                     no price for a bucket that this call may fill
│  └─ NoActiveRun                     strict mode, and the call is outside any run
├─ AnswerInvalid                      a structured answer does not fit its schema; it was paid for
├─ LedgerError                        the books cannot answer
│  ├─ LedgerUnavailable               locked, full, read-only or away
│  ├─ LedgerConflict                  the same id with other numbers
│  ├─ PruneRefused                    old rows are still needed
│  ├─ AdjustRefused                   a refund, correction or reconciliation that the books cannot take
│  ├─ LedgerInvariant                 the books contradict themselves: a bug of ours, report it
│  └─ SchemaMismatch                  the database is older or newer than this code
├─ BackendError                       one of our own backends failed, never a provider's exception
└─ SetupError                         you can fix this in code or configuration
   ├─ BadAmount(ValueError)           an amount of money or tokens that cannot be meant
   ├─ UnsupportedOption               an option that would send requests behind the guard's back
   ├─ SettingsError                   a setting, price file or project file is wrong
   └─ MissingExtra(ImportError)       an optional dependency is not installed
TokenguardWarning(UserWarning)
└─ UnattributedSpend                  a call outside any run; it pays from a small budget of its own

A message states the fact, the numbers and the next move, and every number is also a field. The base is `RuntimeError`
because LangGraph retries a plain `Exception` three times but not a `RuntimeError`; it is never a `BaseException`, so
that `finally` blocks run: safety comes from the closed scope, not from dodging `except`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = [
    "AdjustRefused",
    "AnswerInvalid",
    "BackendError",
    "BadAmount",
    "BudgetExceeded",
    "CallTooLarge",
    "DepthExceeded",
    "FanOutExceeded",
    "HeadroomBusy",
    "LedgerConflict",
    "LedgerError",
    "LedgerInvariant",
    "LedgerUnavailable",
    "LoopBlocked",
    "LoopDetected",
    "MissingExtra",
    "NoActiveRun",
    "NoEndpoint",
    "PruneRefused",
    "RunRevoked",
    "SchemaMismatch",
    "SettingsError",
    "SetupError",
    "SpendRefused",
    "SpendStopped",
    "TokenguardError",
    "TokenguardWarning",
    "UnattributedSpend",
    "Unpriceable",
    "UnsupportedOption",
    "VelocityExceeded",
    "find_stop",
]


class TokenguardError(RuntimeError):
    """Base of everything tokenguard raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, /, **facts: Any) -> None:
        """Keep the sentence and its facts; each fact becomes an attribute."""
        super().__init__(message)
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ would call the class with the sentence alone and lose what subclasses were given.
        return _rebuild, (type(self), self.args, dict(self.__dict__))

    @property
    def facts(self) -> dict[str, Any]:
        """Every number and name in the sentence, as a new dict."""
        return dict(self.__dict__)

    @property
    def sentence(self) -> str:
        """The message alone, without notes."""
        return str(self.args[0]) if self.args else ""


def _rebuild(cls: type[TokenguardError], args: tuple[Any, ...], facts: dict[str, Any]) -> TokenguardError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(facts)
    return error


class SpendStopped(TokenguardError):
    """The scope is closed. Every later call in it raises this again and sends nothing.

    Attributes:
        scope: The scope that owns the limit, such as `run nightly` or `acme/search`.
        scope_key: Its key in the ledger, such as `run:0193…`.
        retry_at: When the window rolls and the balance refuses no longer; None where only a person can help.
        receipt: The run's receipt at the moment of the stop, where the call was inside a run.
    """

    code = "spend_stopped"
    scope: str
    scope_key: str
    retry_at: datetime | None = None
    receipt: Any = None

    def again(self) -> Self:
        """Give a fresh instance for the next raise, so that the tracebacks of its callers do not grow together."""
        return type(self)(*self.args, **self.facts)


class BudgetExceeded(SpendStopped):
    """A cap is spent. `.unit` says which; amounts are `Money` for usd and whole counts otherwise."""

    code = "budget_exceeded"
    unit: str
    per: str
    cap: Any
    settled: Any
    held: Any
    asked: Any


class LoopDetected(SpendStopped):
    """The run repeats itself. `.rule`, `.repeats` and `.evidence` (digests and sizes, never text) say how.

    `.wasted` is what the repetitions after the first one cost.
    """

    code = "loop_detected"
    rule: str
    repeats: int
    evidence: dict[str, Any]
    wasted: Any


class DepthExceeded(SpendStopped):
    """Runs nest deeper than `Limits(depth=)`: `.depth` of `.limit`."""

    code = "depth_exceeded"
    depth: int
    limit: int


class FanOutExceeded(SpendStopped):
    """A run has too many live children, descendants or spawns a minute: `.kind`, `.count` of `.limit`."""

    code = "fan_out_exceeded"
    kind: str
    count: int
    limit: int


class VelocityExceeded(SpendStopped):
    """Money or tokens flow faster than `Limits(usd_per_minute=, tokens_per_minute=)` allow."""

    code = "velocity_exceeded"
    kind: str
    count: Any
    limit: Any


class RunRevoked(SpendStopped):
    """A person or another process closed the run: `.by` and `.why`."""

    code = "run_revoked"
    by: str
    why: str


class SpendRefused(TokenguardError):
    """This call was not sent and cost nothing; the run lives."""

    code = "spend_refused"


class HeadroomBusy(SpendRefused):
    """Calls in flight hold the room that is left; `.retry_in_s` is when to ask again."""

    code = "headroom_busy"
    scope: str
    retry_in_s: float


class CallTooLarge(SpendRefused):
    """The smallest form of this call is above a whole cap or the model's context window."""

    code = "call_too_large"


class LoopBlocked(SpendRefused):
    """This call would repeat what gave the same before; the run lives, and another call may be sent.

    `.rule`, `.repeats` and `.evidence` (digests and sizes, never text) say what repeats; `.wasted` is what the
    repetitions cost so far.
    """

    code = "loop_blocked"
    rule: str
    repeats: int
    evidence: dict[str, Any]
    wasted: Any


class NoEndpoint(SpendRefused):
    """No endpoint may answer now: `.private`, `.dropped` (a sentence each), `.retry_in_s` (None: change something)."""

    code = "no_endpoint"
    dropped: tuple[str, ...]
    retry_in_s: float | None


class Unpriceable(SpendRefused):
    """No price for a bucket that this call may fill: `.model` and `.bucket`; `.toml` is the line to paste."""

    code = "unpriceable"
    model: str
    bucket: str
    toml: str


class NoActiveRun(SpendRefused):
    """`strict=True`, and the call is outside any run: nobody would answer for it."""

    code = "no_active_run"


class AnswerInvalid(TokenguardError):
    """A structured answer does not fit its schema, after all tries; every one of them is paid for and booked.

    The sentence names paths and rules, never what the model said; that is in the fields, for the caller alone.

    Attributes:
        prompt_id: As the ledger has it.
        model: That was asked.
        attempts: Answers that came, the last one included.
        why: `invalid`, `unreadable`, `length`, `empty`, `refused` or `tool_calls`: how the last one failed.
        paths: What does not fit, such as `items[2].quantity`; empty where there was nothing to check.
        problems: The same with messages and values, as `tokenguard.prompt.structured.readings.Problem`.
        text: The last answer.
        receipts: Of the answers, as far as they were settled.
        cost: Of all of them, a `Money`.
    """

    code = "answer_invalid"
    prompt_id: str
    model: str
    attempts: int
    why: str
    paths: tuple[str, ...]
    problems: tuple[Any, ...]
    text: str
    receipts: tuple[Any, ...]
    cost: Any


class LedgerError(TokenguardError):
    """The books cannot answer."""

    code = "ledger_error"


class LedgerUnavailable(LedgerError):
    """The database is locked, full, read-only or away; `.database` names it without credentials.

    Attributes:
        in_doubt: Nobody knows whether the last transaction was written: its connection was lost during the commit.
        retry_in_s: Seconds after which the same may succeed by itself; None where a person has to act first.
    """

    code = "ledger_unavailable"
    database: str
    in_doubt: bool = False
    retry_in_s: float | None = None


class LedgerConflict(LedgerError):
    """The same id came with other numbers; the row that stands is the first."""

    code = "ledger_conflict"


class PruneRefused(LedgerError):
    """Old rows are still needed: a hold among them is open."""

    code = "prune_refused"


class AdjustRefused(LedgerError):
    """What is booked cannot be adjusted like that.

    `.reason` is `open`, `unknown`, `pruned`, `too_much`, `too_many` or `too_early`.
    """

    code = "adjust_refused"
    reason: str


class LedgerInvariant(LedgerError):
    """The books contradict themselves. This is a bug of ours: please report it with `tokenguard db verify --json`."""

    code = "ledger_invariant"


class SchemaMismatch(LedgerError):
    """The database is older or newer than this code: `.found` and `.expected`."""

    code = "schema_mismatch"
    found: str | None
    expected: str


class BackendError(TokenguardError):
    """One of our own backends failed; a provider's exception is never wrapped in this."""

    code = "backend_error"


class SetupError(TokenguardError):
    """You can fix this in code or configuration."""

    code = "setup_error"


class BadAmount(SetupError, ValueError):
    """An amount of money, tokens or time that cannot be meant: a float, NaN, a negative or an unreadable text."""

    code = "bad_amount"


class UnsupportedOption(SetupError):
    """An option that would send requests, or spend, behind the guard's back: `.option`."""

    code = "unsupported_option"
    option: str


class SettingsError(SetupError):
    """A setting, a price file or a project file is wrong; `.path` names the file where there is one."""

    code = "settings_error"


class MissingExtra(SetupError, ImportError):
    """An optional dependency is not installed; the sentence names the extra."""

    code = "missing_extra"


class TokenguardWarning(UserWarning):
    """Base of everything tokenguard warns about."""


class UnattributedSpend(TokenguardWarning):
    """A call was made outside any run: nobody's budget but `unattributed` pays for it."""


def find_stop(error: BaseException | None) -> SpendStopped | None:
    """The stop inside an exception, its causes, its contexts or its group members; None where there is none.

    Frameworks wrap what agents raise; this walks `__cause__`, `__context__` and `ExceptionGroup.exceptions`.
    """
    return next((one for one in _family(error, set()) if isinstance(one, SpendStopped)), None)


def _family(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Each exception reachable from `error`, nearest first, once."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    for relative in (*members, error.__cause__, error.__context__):
        yield from _family(relative, seen)
