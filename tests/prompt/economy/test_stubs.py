from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenguard.prompt.economy.stubs import identifiers, stub


def words(text: str) -> int:
    return len(text.split())


def test_names_have_a_digit_or_a_telling_sign_inside() -> None:
    text = "User mia_li_3668 booked HAT136 (see /src/app.py:12), paid $5 at a.b@c.de; nothing else."

    assert list(identifiers(text)) == ["mia_li_3668", "HAT136", "/src/app.py:12", "a.b@c.de"]


def test_the_rarest_names_come_first_and_stand_in_the_order_of_the_text() -> None:
    text = "id_1 id_2 id_3 id_3 id_4 " * 1 + "filler " * 5

    found, left_out = stub(text, head="[x]", count=words, tokens=6, elsewhere={"id_1": 2})

    assert (found, left_out) == ("[x] id_2 id_4", 2)


def test_names_that_the_prompt_shows_anyway_need_no_room() -> None:
    found, left_out = stub("id_1 id_2", head="[x]", count=words, tokens=300, visible=["id_1", "id_9"])

    assert (found, left_out) == ("[x] id_2", 0)


def test_a_text_without_names_leaves_its_head() -> None:
    assert stub("just some words", head="[x]", count=words, tokens=100) == ("[x]", 0)


@given(st.text(), st.integers(1, 500))
def test_names_take_at_most_sixty_tokens_and_a_third_of_the_text(text: str, tokens: int) -> None:
    found, left_out = stub(text, head="[x]", count=words, tokens=tokens)

    carried = found.split(" ")[1:]
    assert words(found) - 1 <= min(60, tokens // 3)
    assert all(name in text for name in carried)
    assert len(carried) + left_out == len(identifiers(text))
