from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt.economy.rates import INPUT, billed, rates, stepped

from tokenguard.prompt.economy import (
    CachePrices,
    Candidate,
    Cut,
    Outlook,
    alive_permille,
    behaviour_pico,
    best_cut,
    cost_ahead_pico,
    entry_pays,
    forecast,
    rewrite_gain_pico,
    token_value_pico,
)

NONE = rates(100, 100, marked="none")
SETS = {
    "1.25/0.1": rates(),
    "1/0.1": rates(100, 10),
    "1/0.25": rates(100, 25),
    "1/0.5": rates(100, 50),
    "none": NONE,
    "1 h": rates(200, 10),
    "stepped": stepped(4_000),
}


def test_a_token_that_is_sent_now_is_written_once_and_read_ever_after() -> None:
    assert token_value_pico(rates(), 1) == 1_250_000
    assert token_value_pico(rates(), 11) == 2_250_000


@pytest.mark.parametrize(
    ("write", "read", "factor"),
    [
        (125, 10, Fraction(23, 2)),
        (125, 5, Fraction(24)),
        (100, 10, Fraction(9)),
        (100, 15, Fraction(17, 3)),
        (100, 25, Fraction(3)),
        (100, 50, Fraction(1)),
        (100, 100, Fraction(0)),
    ],
)
def test_rewriting_breaks_even_after_the_factor_of_the_prices_times_what_stays_over_what_goes(
    write: int, read: int, factor: Fraction
) -> None:
    prices, behind, removed = rates(write, read), 6_000, 1_000
    even = factor * behind / removed
    assert even == Fraction(prices.write - prices.read, prices.read) * behind / removed

    at = rewrite_gain_pico(prices, removed, behind, Outlook(int(even)))
    after = rewrite_gain_pico(prices, removed, behind, Outlook(int(even) + 1))

    assert at <= 0 < after


def test_a_cold_cache_makes_rewriting_free_and_a_doubtful_one_lies_between() -> None:
    warm = rewrite_gain_pico(rates(), 1_000, 6_000, Outlook(10))
    cold = rewrite_gain_pico(rates(), 1_000, 6_000, Outlook(10, alive_permille=0))
    doubtful = rewrite_gain_pico(rates(), 1_000, 6_000, Outlook(10, alive_permille=500))

    assert warm == 100_000 * 10 * 1_000 - 1_150_000 * 6_000
    assert cold == 1_000 * (1_250_000 + 9 * 100_000)
    assert doubtful == (warm + cold) // 2


def test_half_of_what_was_is_expected_to_come_until_the_ledger_knows_better() -> None:
    assert [forecast(calls) for calls in (0, 1, 2, 3, 20)] == [1, 1, 1, 1, 10]
    assert forecast(20, median_left=3) == 3
    assert forecast(20, median_left=0) == 1


@pytest.mark.parametrize(
    ("life_s", "gone_s", "idle_s", "alive"),
    [
        (300, 360, 239, 1_000),
        (300, 360, 300, 500),
        (300, 360, 360, 0),
        (300, 3_600, 299, 1_000),
        (300, 3_600, 1_950, 500),
        (300, 3_600, 7_200, 0),
        (1_800, None, 10**6, 1_000),
        (None, None, 10**6, 1_000),
    ],
)
def test_a_prefix_lives_for_its_life_and_one_of_unknown_life_for_ever(
    life_s: int | None, gone_s: int | None, idle_s: int, alive: int
) -> None:
    assert alive_permille(rates(life_s=life_s, gone_s=gone_s), idle_s) == alive
    assert alive_permille(NONE, 0) == 0


def test_lost_information_costs_steps() -> None:
    assert behaviour_pico(1_000, 10**10) == 10_300_000_000
    assert behaviour_pico(1_000, 10**10, extra_steps_permille=1_800) == 18_000_000_000
    assert behaviour_pico(1, 1) == 1


@pytest.mark.parametrize(
    ("write", "read", "permille"),
    [(125, 10, 215), (100, 10, 190), (100, 50, 550)],
)
def test_going_below_the_minimum_pays_only_for_a_tenth_or_so_of_the_prompt(
    write: int, read: int, permille: int
) -> None:
    prices, before = rates(write, read, minimum=4_096), 5_000

    def gain(after: int) -> int:
        stay = cost_ahead_pico(prices, before, 0, Outlook(10))
        return stay - cost_ahead_pico(prices, after, 0, Outlook(10))

    assert gain(before * permille // 1_000 - 1) > 0
    assert gain(before * permille // 1_000 + 1) < 0


def test_a_prompt_that_grows_past_the_minimum_is_cached_from_then_on() -> None:
    spent = cost_ahead_pico(rates(), 1_000, 0, Outlook(3, growth=100))

    assert spent == INPUT * 1_000 + 1_250_000 * 1_100 + 100_000 * 1_100 + 1_250_000 * 100


def test_above_a_price_step_every_token_is_dearer_the_answer_too() -> None:
    prices = stepped(4_000)

    small = cost_ahead_pico(prices, 4_000, 4_000, Outlook(output=10))
    large = cost_ahead_pico(prices, 4_001, 4_001, Outlook(output=10))

    assert small == 100_000 * 4_000 + 5_000_000 * 10
    assert large == 200_000 * 4_001 + 10_000_000 * 10


@pytest.mark.parametrize(
    ("before", "after", "pays"), [(100, 85, False), (100, 84, True), (400, 381, False), (400, 380, True)]
)
def test_a_text_is_folded_at_entry_where_tokens_fall_by_sixteen_and_five_percent(
    before: int, after: int, *, pays: bool
) -> None:
    assert entry_pays(rates(), before=before, after=after, total=9_000, warm=8_000, outlook=Outlook(5)) is pays


def test_a_text_is_not_folded_where_that_keeps_the_prompt_from_being_cached() -> None:
    entry = {"before": 400, "after": 200, "total": 1_100, "warm": 700}

    assert not entry_pays(rates(), **entry, outlook=Outlook(10))
    assert entry_pays(rates(), **entry, outlook=Outlook(1))
    assert entry_pays(NONE, **entry, outlook=Outlook(10))
    assert not entry_pays(rates(minimum=None), **entry, outlook=Outlook(10))
    assert entry_pays(rates(minimum=512), **entry, outlook=Outlook(10))


def test_everything_behind_the_first_change_rides_on_the_same_break() -> None:
    candidates = [Candidate(2_000, 300), Candidate(3_000, 4_000), Candidate(8_000, 500)]

    cut = best_cut(rates(), candidates, total=10_000, cached=9_000, outlook=Outlook(10, certain=True))

    assert cut is not None
    assert (cut.first, cut.removed, cut.behind) == (1, 4_500, 1_500)
    assert cut.gain_pico == 100_000 * 10 * 4_500 - 1_150_000 * 1_500


def test_nothing_is_rewritten_where_it_does_not_pay_or_prices_are_assumed() -> None:
    candidates = [Candidate(2_000, 1_000)]
    sizes = {"total": 10_000, "cached": 10_000, "outlook": Outlook(5, certain=True)}

    assert best_cut(rates(), candidates, **sizes) is None
    assert best_cut(NONE, candidates, **sizes) is not None
    assert best_cut(rates(100, 100, marked="none", known=False), candidates, **sizes) is None
    assert best_cut(NONE, [], **sizes) is None


def test_a_patient_gate_waits_until_carrying_has_cost_as_much_as_the_break() -> None:
    def cut(waited: int, outlook: Outlook = Outlook(10)) -> bool:
        candidates = [Candidate(2_000, 4_500, waited=waited)]
        return best_cut(rates(), candidates, total=8_000, cached=8_000, outlook=outlook) is not None

    # The break costs 1.15 x 1,500 tokens and saves 0.1 x 4,500 on each request, this one included.
    assert [waited for waited in range(6) if cut(waited)] == [3, 4, 5]
    assert cut(0, Outlook(10, alive_permille=0))


def test_what_is_lost_counts_against_what_is_saved() -> None:
    def cut(lost: int) -> bool:
        candidates = [Candidate(2_000, 4_500, lost)]
        outlook = Outlook(10, step_pico=10**9, certain=True)
        return best_cut(rates(), candidates, total=8_000, cached=8_000, outlook=outlook) is not None

    assert cut(0)
    assert cut(2_690)
    assert not cut(2_700)


def test_the_cut_that_gets_just_below_a_price_step_is_found() -> None:
    # By the closed formula alone nothing pays: much is written again for few tokens that go.
    candidates = [Candidate(1_500, 100), Candidate(2_000, 200), Candidate(3_000, 30)]
    sizes = {"total": 4_100, "cached": 4_050, "outlook": Outlook(2, certain=True)}

    below = best_cut(stepped(4_000, factor=20), candidates, **sizes)

    assert below is not None
    assert below.first == 1
    assert best_cut(rates(), candidates, **sizes) is None


def test_a_beginning_too_short_to_be_cached_is_written_again_with_the_rest() -> None:
    short, long = (
        best_cut(rates(), [Candidate(at, 20_000)], total=26_000, cached=26_000, outlook=Outlook(10, certain=True))
        for at in (1_023, 1_024)
    )

    assert short is not None
    assert long is not None
    assert (short.behind, long.behind) == (6_000, 6_000 - 1_024)
    assert long.gain_pico - short.gain_pico == 1_150_000 * 1_024


def test_a_prompt_does_not_shrink_below_the_minimum_for_a_few_tokens() -> None:
    candidates = [Candidate(300, 60), Candidate(500, 200), Candidate(900, 100)]

    cut = best_cut(rates(minimum=1_000), candidates, total=1_150, cached=0, outlook=Outlook(10, certain=True))

    assert cut is not None
    assert cut.removed == 100


@dataclass(frozen=True)
class History:
    """What was sent, and what may become of it."""

    prices: CachePrices
    sent: list[tuple[str, int]]
    stubs: list[int]
    """Tokens of a stub for each piece."""
    new: int
    outlook: Outlook

    def cut(self, prices: CachePrices) -> Cut | None:
        return best_cut(
            prices,
            [Candidate(self._start(place), self.sent[place][1] - self.stubs[place]) for place in self._places()],
            total=self._start(len(self.sent)) + self.new,
            cached=self._start(len(self.sent)),
            outlook=self.outlook,
        )

    def saved(self, cut: Cut, prices: CachePrices) -> int:
        """The difference of two bills: everything as it was, and with the cut."""
        going = set(self._places()[cut.first :])
        changed = [(f"stub {at}", self.stubs[at]) if at in going else piece for at, piece in enumerate(self.sent)]
        turns = [(f"turn {turn}", self.outlook.growth) for turn in range(self.outlook.requests)]
        later = [[("new", self.new), *turns[:count]] for count in range(self.outlook.requests)]
        kept, less = (
            billed(prices, [self.sent, *([*pieces, *rest] for rest in later)]) for pieces in (self.sent, changed)
        )
        return kept - less

    def _start(self, place: int) -> int:
        return sum(size for _, size in self.sent[:place])

    def _places(self) -> list[int]:
        return [place for place, (_, size) in enumerate(self.sent) if self.stubs[place] < size]


@st.composite
def histories(draw: st.DrawFn) -> History:
    sizes = draw(st.lists(st.integers(1, 3_000), min_size=1, max_size=8))
    return History(
        prices=SETS[draw(st.sampled_from(sorted(SETS)))],
        sent=[(f"piece {place}", size) for place, size in enumerate(sizes)],
        stubs=[draw(st.integers(0, size)) for size in sizes],
        new=draw(st.integers(0, 2_000)),
        outlook=Outlook(draw(st.integers(1, 30)), growth=draw(st.integers(0, 800)), certain=draw(st.booleans())),
    )


@given(histories())
def test_the_gate_never_promises_a_gain_that_the_bill_does_not_show(history: History) -> None:
    cut = history.cut(history.prices)

    assert cut is None or history.saved(cut, history.prices) >= cut.gain_pico > 0


@given(histories(), st.sampled_from([0, 512, 1_024, 4_096, 6_144]))
def test_where_nobody_states_the_minimum_the_gate_does_not_lose_whatever_it_is(history: History, minimum: int) -> None:
    cut = history.cut(replace(history.prices, minimum=None))

    assert cut is None or history.saved(cut, replace(history.prices, minimum=minimum)) >= cut.gain_pico > 0


@given(histories(), st.integers(0, 6_144))
def test_an_unknown_minimum_has_a_least_and_a_most_that_the_truth_lies_between(history: History, minimum: int) -> None:
    unknown, known = replace(history.prices, minimum=None), replace(history.prices, minimum=minimum)
    warm = sum(size for _, size in history.sent)
    sizes = warm + history.new, warm

    least = cost_ahead_pico(unknown, *sizes, history.outlook, hopeful=True)
    most = cost_ahead_pico(unknown, *sizes, history.outlook)

    assert least <= cost_ahead_pico(known, *sizes, history.outlook) <= most


@given(histories())
def test_away_from_every_edge_the_exact_gain_is_the_closed_formula(history: History) -> None:
    prices = SETS["1.25/0.1"] if history.prices.steps else history.prices
    sent, new, outlook = history.sent, history.new, history.outlook
    head, cached = 5_000, 5_000 + sum(size for _, size in sent)
    candidates = [Candidate(head, 1 + sum(size for _, size in sent) // 2)]

    cut = best_cut(prices, candidates, total=cached + new, cached=cached, outlook=replace(outlook, certain=True))

    closed = rewrite_gain_pico(prices, candidates[0].removed, cached - head - candidates[0].removed, outlook)
    assert (cut.gain_pico if cut else min(0, closed)) == closed
