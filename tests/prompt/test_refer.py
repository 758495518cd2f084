"""References to text that an earlier result holds: exact, and only to what stands there as it came."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.prompt.markers import MARKER
from tokenguard.prompt.refer import History, resolved

FILE = "\n".join(f"line {number}: something that a file may say in its line {number}" for number in range(1, 31))


def after(*texts: str) -> History:
    history = History()
    for text in texts:
        history.add(text, "read", plain=True)
    return history


def test_a_text_that_stands_above_is_named_with_its_place_its_tool_and_how_it_begins() -> None:
    history = after("something else", FILE)

    line = history.whole(FILE)

    assert line is not None
    assert "tool result 2 (read) above, beginning 'line 1: something that a file may say in" in line
    assert resolved(line, ["something else", FILE]) == FILE


def test_lines_that_stand_above_are_named_and_new_ones_are_said() -> None:
    lines = FILE.split("\n")
    edited = "\n".join([*lines[:9], "a new line", *lines[10:]])

    short = after(FILE).parts(edited)

    assert short is not None
    assert len(short.split("\n")) == 3
    assert "lines 1 to 9 of tool result 1 (read)" in short
    assert "a new line" in short
    assert resolved(short, [FILE]) == edited


def test_what_was_not_sent_as_it_came_is_not_referred_to() -> None:
    history = History()
    history.add(FILE, "read", plain=False)

    assert history.whole(FILE) is None
    assert history.parts(FILE) is None


def test_a_text_that_holds_a_line_of_ours_gets_no_reference() -> None:
    assert after(FILE).parts(f"{FILE}\n{MARKER}text: the same as tool result 1 above, beginning 'x']") is None


def test_few_lines_and_short_lines_are_said() -> None:
    short = "\n".join("abcdefghij")

    assert after(short).parts(short + "\nmore") is None
    assert after(FILE).parts("\n".join(FILE.split("\n")[:5])) is None


def test_what_comes_back_soon_after_it_was_changed_is_noticed_and_later_no_more() -> None:
    history = History()
    history.add(FILE, "read", plain=False)

    assert history.comes_back(FILE)

    for number in range(6):
        history.add(f"other {number}", "read", plain=True)
    assert not history.comes_back(FILE)


def test_what_was_shortened_comes_back_at_any_time_and_with_other_blanks_around_it() -> None:
    history = History()
    history.add(FILE, "read", plain=False, shortened=True)
    for number in range(50):
        history.add(f"other {number}", "read", plain=True)

    assert history.comes_back(f"{FILE}\n")


line = st.sampled_from([*FILE.split("\n")[:12], "", "short", "a quite different line with some more characters in it"])
text = st.lists(line, max_size=40).map("\n".join)


@settings(max_examples=300)
@given(st.lists(text, min_size=1, max_size=5), text)
def test_every_reference_resolves_to_what_it_stands_for(earlier: list[str], new: str) -> None:
    history = after(*earlier)

    whole, parts = history.whole(new), history.parts(new)

    assert whole is None or resolved(whole, earlier) == new
    assert parts is None or resolved(parts, earlier) == new
