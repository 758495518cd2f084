"""Metered streams: what a caller iterates instead of the upstream. They settle exactly once, however they end.

Chunks are LiteLLM's own objects, in LiteLLM's own sequence. The usage chunk is read *before* the finish chunk is
handed out, so that a consumer which breaks at `finish_reason` still books what the provider reported; it is hidden
unless the caller asked.

| how it ends | what is booked |
|---|---|
| read to its end or to `finish_reason` | the provider's usage, `reported`; counted, `estimated`, where there is none |
| closed, dropped, cancelled, stopped, or its run ends | upstream closed; prompt + delivered + a chunk, `estimated` |
| the same, and the model reasons unseen | unresolved: the hold stands until its lease ends |
| cut by the network | unresolved |
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.guards import wall_stop
from tokenguard.calls.loop_checks import circled, learned
from tokenguard.calls.outcome import counted, posted, rejected, unresolved
from tokenguard.calls.receipts import attach_partial
from tokenguard.calls.routes import count_out
from tokenguard.calls.settlement import kept, settled
from tokenguard.core import events
from tokenguard.core.ports import CallPiece, Failure, Part
from tokenguard.core.untrusted import field_of
from tokenguard.errors import CallTooLarge
from tokenguard.loops.tail import Tail

if TYPE_CHECKING:
    from tokenguard.calls.effects import Flow
    from tokenguard.calls.flow import Opened
    from tokenguard.calls.parts import Parts
    from tokenguard.core.receipt import CallReceipt
    from tokenguard.errors import LoopBlocked, SpendStopped
    from tokenguard.loops.finding import Finding

__all__ = ["Tap"]

_SLACK_CHUNKS: Final = 64
"""A provider that ignores `max_tokens` is closed this many chunks after it."""


class Tap:
    """What a stream delivered so far and how it will be booked. No I/O: both kinds of stream drive it."""

    def __init__(self, opened: Opened, parts: Parts) -> None:
        self.sent = opened.sent
        self.upstream = opened.upstream
        self.parts = parts
        self.ahead: deque[Any] = deque()
        """Chunks that were read before it was their turn."""
        self.pending: BaseException | None = None
        """An error of the upstream that came while reading ahead; raised after `ahead` is handed out."""
        self.ended = False
        self.halted: SpendStopped | None = None
        """Why its upstream was closed under whoever reads it; from then on nothing else is heard of it."""
        self.receipt: CallReceipt | None = None
        self._claim = threading.Lock()
        self._texts: list[str] = []
        self._calls: dict[int, list[CallPiece]] = {}
        """Pieces of the first answer's tool calls, by their place."""
        self._text_chunks = 0
        self._last = Part()
        self._usage: Part | None = None
        self._tail = _tail_of(opened, parts)
        self.circling: Finding | None = None
        """Where its text goes in circles."""

    @property
    def account_ids(self) -> frozenset[str]:
        """Accounts whose room this stream holds."""
        return frozenset(state.account.id for state in self.sent.grant.states)

    @property
    def settled(self) -> bool:
        """Whether somebody has taken on the settlement."""
        return self._claim.locked()

    def claim(self) -> bool:
        """Take on the settlement; False: it is taken."""
        return self._claim.acquire(blocking=False)

    def take(self, chunk: Any) -> Part:
        """Note one chunk of the upstream."""
        part = self._read(chunk)
        if self.sent.first_s is None:
            self.sent = replace(self.sent, first_s=self.parts.clock.monotonic())
        if part.text:
            self._texts.append(part.text)
            self._text_chunks += 1
        if part.said:
            self._look(part.said)
        for piece in part.calls:
            self._calls.setdefault(piece.place, []).append(piece)
        if part.usage is not None:
            self._usage = part
        self._last = Part(
            model=part.model or self._last.model,
            response_id=part.response_id or self._last.response_id,
            finish_reason=part.finish_reason or self._last.finish_reason,
            service_tier=part.service_tier or self._last.service_tier,
            stated_usd=part.stated_usd or self._last.stated_usd,
            cache_hit=part.cache_hit or self._last.cache_hit,
            reply=part.reply or self._last.reply,
        )
        return part

    def _look(self, text: str) -> None:
        """Whether the text goes in circles; a rule that trips is told, and looks no more."""
        if self._tail is None:
            return
        try:
            self.circling = self._tail.feed(text)
        except Exception as fault:  # noqa: BLE001  # a rule must never break a stream
            self.fault("loops", fault)
            self._tail = None
        if self.circling is not None:
            self._tail = None

    def circled(self) -> Flow[LoopBlocked | SpendStopped | None]:
        """Why it is closed for going in circles; None: observing, it goes on."""
        call, finding = self.sent.attempt.call, self.circling
        self.circling = None
        assert finding is not None, "only a stream that goes in circles is closed for it"
        assert call.node is not None, "only streams inside a run are watched"
        assert call.ladder.loops is not None, "or its text would not be looked at"
        return (yield from circled(finding, call.ladder.loops, call.node, self.parts))

    def _read(self, chunk: Any) -> Part:
        """What a chunk says; one that cannot be read is handed out all the same."""
        try:
            return self.parts.backend.read(self.sent.attempt.call.operation, chunk)
        except Exception as fault:  # noqa: BLE001  # the caller's stream must not end for our reading of it
            self.fault("read", fault)
            return Part()

    def fault(self, where: str, error: Exception) -> None:
        """Tell the sinks what went wrong beside the stream."""
        run_id = self.sent.attempt.facts.run_id
        self.parts.emit(events.Fault(at=self.parts.clock.now(), run_id=run_id, where=where, error=error))

    def complete(self, part: Part) -> bool:
        """Whether the answer is whole with this part, so that only its usage may still come.

        Of several answers the first one's finish says nothing about the others; usage beside text is a running count.
        """
        if part.usage is not None and not part.text:
            return True
        return part.finish_reason is not None and self.sent.attempt.bounds.ask.answers == 1

    def hidden(self, chunk: Any) -> bool:
        """Whether a chunk after the finish is only there because we asked for usage."""
        call = self.sent.attempt.call
        return call.operation == "chat" and not call.terms.usage_asked and field_of(chunk, "usage") is not None

    def stop(self) -> SpendStopped | None:
        """Why not one more chunk may be read; None: go on."""
        if self.halted is not None:
            return self.halted  # Also where the run goes on meanwhile: this stream was closed.
        node = self.sent.attempt.call.node
        if node is None or not self.parts.enforce:
            return None
        now_s = self.parts.clock.monotonic()
        return node.stop() or next((error for one in node.lineage if (error := wall_stop(one, now_s))), None)

    def runaway(self) -> CallTooLarge | None:
        """A provider that ignores `max_tokens`: each chunk with text is at least one token."""
        granted = self.sent.grant.output_tokens * self.sent.attempt.bounds.ask.answers
        if not self.parts.enforce or self._text_chunks <= granted + _SLACK_CHUNKS:
            return None
        return CallTooLarge(
            f"{self.sent.attempt.target.model!r} ignores max_tokens={granted}: {self._text_chunks} chunks came. The "
            "stream was "
            "closed and what came is booked. Bound the answer on the server.",
            granted=granted,
            chunks=self._text_chunks,
        )

    def finish(self) -> Flow[CallReceipt]:
        """Book a stream that was read to its end."""
        part = self._whole()
        booking = posted(self.sent, part, self.parts)
        self.receipt = yield from settled(self.sent, booking, self.parts)
        yield from learned(self.sent, part, booking, self.parts)
        return self.receipt

    def abandon(self) -> Flow[None]:
        """Book a stream that was closed before its end."""
        card = self.sent.attempt.card
        if card is not None and card.has_reasoning:
            failure = Failure(billed=True, retryable=False, error_class="StreamClosed")
            yield from kept(self.sent, unresolved(self.sent, failure, self.parts), self.parts)
            return
        booking = counted(self.sent, self._whole(), self.parts, unread=1)
        self.receipt = yield from settled(self.sent, booking, self.parts)

    def broken(self, error: BaseException, handling: BaseException | None) -> Flow[None]:
        """Book a stream that the network or the provider cut."""
        failure = self.parts.backend.failure(error, handling=handling)
        # Errors inside a stream carry no real status: once anything came, only the provider knows what it bills.
        if not failure.billed and self.sent.first_s is None:
            booking = rejected(self.sent, failure, self.parts)
            count_out(self.sent, booking, self.parts, failure)
            yield from settled(self.sent, booking, self.parts)
            return
        booking = unresolved(self.sent, failure, self.parts)
        count_out(self.sent, booking, self.parts, failure)
        attach_partial(error, "".join(self._texts))
        yield from kept(self.sent, booking, self.parts)

    def _whole(self) -> Part:
        """Everything delivered, as one part."""
        reported = self._usage or self._last
        text = "".join(self._texts)
        return replace(
            self._last,
            text=text,
            usage=reported.usage,
            stated_usd=reported.stated_usd or self._last.stated_usd,
            reply=self._last.reply or self._message(text),
        )

    def _message(self, text: str) -> dict[str, Any]:
        """The assistant's message as it will come back in the next request."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._calls:
            message["tool_calls"] = [_whole_call(pieces) for _, pieces in sorted(self._calls.items())]
        return message


def _whole_call(pieces: list[CallPiece]) -> dict[str, Any]:
    """A tool call from its pieces, in the shape of a whole reply."""
    arguments = "".join(piece.arguments for piece in pieces)
    name = next((piece.name for piece in pieces if piece.name), "")
    call_id = next((piece.call_id for piece in pieces if piece.call_id), "")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _tail_of(opened: Opened, parts: Parts) -> Tail | None:
    """What looks whether the text goes in circles; None: the call is not watched."""
    call = opened.sent.attempt.call
    # Of several answers the chunks are mixed, and equal ones are no circle.
    loops = call.ladder.loops if call.node is not None and opened.sent.attempt.bounds.ask.answers == 1 else None
    model = opened.sent.attempt.target.model
    return None if loops is None else Tail(loops, model=model, key=parts.loop_key or b"")
