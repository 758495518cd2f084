"""Which rounds of a request are new, and which round each of them follows: conversations as branches of a tree."""

from __future__ import annotations

from typing import Any, Final

from tokenguard.loops.answers import Answer, Answers
from tokenguard.loops.evidence import Shown, Turn
from tokenguard.loops.rounds import Digester, Round, Seen, text_of
from tokenguard.loops.track import ROUNDS_MAX, Track, keep

__all__ = ["Conversations"]

_VOICED_MAX: Final = 64
_HEADS_MAX: Final = 64
_UNKNOWN: Final = -1
_UNMARKED: Final = (0, 0)


class Conversations:
    """The rounds that requests showed, each with the one before it in its own conversation."""

    def __init__(self, digester: Digester, answers: Answers) -> None:
        self.track = Track()
        self.stretch = 0
        """How often a conversation began, or went on with new words of a person."""
        self.voiced: dict[str, int] = {}
        """Digest of a conversation and what a user said in it -> after which round it was said first."""
        self.ids_recur = False
        """The server gives the same ids again and again: then what stands before a turn tells rounds apart."""
        self._kept = ROUNDS_MAX
        self._heads: dict[int, None] = {}
        """How conversations began whose beginning was seen."""
        self._digester = digester
        self._answers = answers

    def read(self, shown: Shown, most: int, kept: int) -> tuple[Round | None, bool]:
        """Note what a request shows; the round it ends with, and whether that is new.

        Args:
            shown: The request.
            most: Of new turns so many are noted, the latest ones.
            kept: So many rounds are remembered, of all conversations.
        """
        self._kept = kept
        fresh: list[tuple[Turn, Answer | None]] = []
        parent: Round | None = None
        before = 0
        while (turn := shown.turn(len(fresh))) is not None and len(fresh) < most:
            parent = self._known(turn, shown, len(fresh), before)
            if parent is not None:
                break
            answer = self._answer_of(turn)
            before = answer.before if answer else 0
            fresh.append((turn, answer))
        if not fresh:
            return parent, False
        missing = 0
        if parent is None and turn is None:
            parent = self._linked(fresh[-1][0], before, shown)
        elif parent is None:
            missing = _UNKNOWN
        last = parent
        for back in range(len(fresh) - 1, -1, -1):
            last = self._note(fresh[back], last, shown, back, missing)
        return last, last is not parent

    def begun(self, shown: Shown) -> None:
        """A request without any turn: an answer to it follows no other, and it may be a conversation's first."""
        self._answers.start = self._answers.seq
        if shown.begins():
            self.stretch += 1
            keep(self._heads, shown.head, None, _HEADS_MAX)

    def is_persons(self, words: Any, last: Round, *, ends: bool) -> bool:
        """Whether these words after a round are a person's: not said after an earlier round of this conversation.

        Args:
            words: What a user said.
            last: The round before.
            ends: An answer in words stands between: then they begin a new stretch.
        """
        digest = self._digester.of(f"{last.root}\n{text_of(words)}")
        first = self.voiced.get(digest)
        if first is None:
            keep(self.voiced, digest, last.seq, _VOICED_MAX)
            self.stretch += ends
        return first is None or first == last.seq

    def _known(self, turn: Turn, shown: Shown, back: int, before: int) -> Round | None:
        """The noted round that a turn is; None: it is new."""
        turn.name = self._answers.named(turn.ids)
        candidates = self.track.named(turn.name)
        if not candidates:
            return None
        one = candidates[-1]
        if back and one.position == turn.position and not self.ids_recur:
            # Nearly always: the turn before the new one. Its marks were looked at when it was new itself.
            if one.head == shown.head != 0:
                return one
        elif back == 0 and self._is_expected(turn):
            # An answer with these ids came after they were noted: they are another round's.
            self.ids_recur = True
            return None
        found = [one for one in candidates if self._same(one, turn)]
        linked = next((one for one in found if one.answer == before), None) if before else None
        placed = self._placed(found, turn, shown, back)
        if linked is not None and linked is not placed and self._agrees(linked, shown, back):
            # The ids recur, and the request was trimmed or its caller has several conversations: these end in a leaf.
            return placed if placed is not None and self._is_leaf(placed) else linked
        if placed is not None:
            placed.head = shown.head
            return placed
        return None if back == 0 or self.ids_recur or found else self._rewritten(turn, candidates, shown.head)

    def _placed(self, found: list[Round], turn: Turn, shown: Shown, back: int) -> Round | None:
        """Of the rounds that asked for and got the same the one at the turn's place in its conversation."""
        found.sort(key=lambda one: (one.position == turn.position, one.seq), reverse=True)
        for one in found:
            if turn.position > one.position and self._recurs(turn, shown, back):
                continue
            if self.ids_recur and turn.position != one.position:
                continue
            known = one.head and one.head == shown.head and not self.ids_recur
            if known or self._agrees(one, shown, back):
                return one
        return None

    def _is_leaf(self, one: Round) -> bool:
        return all(other.parent != one.seq for other in self.track.rounds.values())

    def _is_expected(self, turn: Turn) -> bool:
        """Whether an answer asked for it whose round was not noted."""
        reply = self._answers.reply_of(turn.calls[0])
        return reply is not None and not reply.answer.noted

    def _recurs(self, turn: Turn, shown: Shown, back: int) -> bool:
        """Whether a turn further on than the round of its name is another; else something was put in before it."""
        if turn.ids and not self.ids_recur:
            earlier = back + 1
            while (one := shown.turn(earlier)) is not None and earlier <= ROUNDS_MAX:
                if one.ids == turn.ids:
                    self.ids_recur = True
                    break
                earlier += 1
        return self.ids_recur or not turn.ids

    def _agrees(self, one: Round, shown: Shown, back: int) -> bool:
        """Whether what the request shows before a turn is what was noted before the round."""
        start = one
        for earlier in range(back + 1, back + ROUNDS_MAX):
            turn = shown.turn(earlier)
            if one.parent == 0:
                return turn is None
            before = self.track.rounds.get(one.parent)
            if before is None:
                return True
            if turn is None:
                # The request was trimmed, or it is another conversation's beginning.
                return not self.ids_recur or start.head == shown.head
            if before.name != self._answers.named(turn.ids) or not self._same(before, turn):
                return False
            one = before
        return True

    def _rewritten(self, turn: Turn, candidates: list[Round], head: int) -> Round | None:
        """The latest round of a conversation whose result was shortened since."""
        asked = turn.marks[0]
        for one in reversed(candidates):
            if one.marks[0] == asked and one.head == head and turn.position <= one.position:
                return one if self._is_leaf(one) else None
        return None

    def _answer_of(self, turn: Turn) -> Answer | None:
        """The answer that asked for a turn, once."""
        reply = self._answers.reply_to(turn.name) or self._answers.reply_of(turn.calls[0])
        if reply is None or reply.answer.noted:
            return None
        reply.answer.noted = True
        return reply.answer

    def _linked(self, turn: Turn, before: int, shown: Shown) -> Round | None:
        """The round before a turn that the request shows nothing before, by the answers of its caller."""
        if not before:
            return None
        one = next((one for one in reversed(self.track.rounds.values()) if one.answer == before), None)
        if one is None or (turn.calls[0].tool and one.head and one.head != shown.head):
            return None
        return one

    def _note(
        self,
        new: tuple[Turn, Answer | None],
        parent: Round | None,
        shown: Shown,
        back: int,
        missing: int,
    ) -> Round | None:
        """Note one turn after its parent; the round, or the parent where nothing is known of its calls."""
        turn, answer = new
        seen = self._seen(turn, parent)
        if not seen:
            return parent
        earlier = shown.turn(back + 1)
        words = earlier.after if earlier else None
        self.ids_recur = self.ids_recur or (turn.ids != "" and bool(self.track.named(turn.name)))
        one = Round(self._answers.number(), turn.name, seen)
        if answer is not None:
            one.answer, one.cost_pico = answer.seq, answer.cost_pico
        one.position, one.marks, one.head = turn.position, turn.marks, shown.head
        if parent is not None:
            one.parent, one.root = parent.seq, parent.root
            one.begins = words is not None and self.is_persons(words, parent, ends=True)
        else:
            one.parent = missing
            if shown.head not in self._heads:
                self.stretch += 1
                keep(self._heads, shown.head, None, _HEADS_MAX)
        self.track.note(one, self._kept)
        return one

    def _seen(self, turn: Turn, parent: Round | None) -> list[Seen]:
        """The calls of a turn with their results."""
        found: list[Seen] = []
        for call in turn.calls:
            reply = self._answers.reply_of(call) if self._answers.completes else None
            if reply is not None and reply.asked is not None and (not call.tool or reply.mark == call.mark):
                asked, exempt = reply.asked, reply.exempt
            elif call.tool or call.arguments is not None:
                asked, exempt = self._answers.digest(call)
            else:
                continue
            past = self.track.back_from(parent)
            seen = self._digester.seen(asked, call.result, failed=call.failed, past=past)
            # What is asked again on purpose is noted and never found, like what time will heal.
            found.append(seen._replace(transient=True) if exempt else seen)
        return found

    def _same(self, one: Round, turn: Turn) -> bool:
        """Whether a round asked for the same and got the same."""
        if one.marks == _UNMARKED:
            # Another process noted it: there only the digests are the same.
            seen = Round(0, "", self._seen(turn, None)).seen
            if any(old.blocked for old in one.seen) or [now.pair for now in seen] == [old.pair for old in one.seen]:
                one.marks = turn.marks
        asked, got = one.marks
        return got == turn.marks[1] and (asked == turn.marks[0] or 0 in (asked, turn.marks[0]))
