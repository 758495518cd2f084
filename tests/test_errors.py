"""The error tree: every error keeps its sentence and its facts, wherever it is carried."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NoReturn

import pytest

from tokenguard import errors
from tokenguard.core.money import Money
from tokenguard.errors import BadAmount, BudgetExceeded, MissingExtra, SpendStopped, TokenguardError, find_stop


def _tree(cls: type[TokenguardError]) -> list[type[TokenguardError]]:
    return [cls, *(one for sub in cls.__subclasses__() for one in _tree(sub))]


EVERY = [cls for cls in _tree(TokenguardError) if cls.__module__ == errors.__name__]
FACTS = {"scope": "run nightly", "cap": Money("2"), "asked": 7, "nested": {"a": [1]}}


@pytest.mark.parametrize("cls", EVERY)
def test_an_error_pickles_with_its_sentence_and_facts(cls: type[TokenguardError]) -> None:
    error = cls("It is spent.", **FACTS)

    back = pickle.loads(pickle.dumps(error))

    assert type(back) is cls
    assert (str(back), back.sentence, back.facts, back.code) == ("It is spent.", "It is spent.", FACTS, cls.code)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_an_error_copies_with_its_sentence_and_facts(cls: type[TokenguardError], duplicate: object) -> None:
    error = cls("It is spent.", **FACTS)

    back = duplicate(error)  # type: ignore[operator]  # both are functions of one argument

    assert back is not error
    assert (type(back), back.sentence, back.facts) == (cls, "It is spent.", FACTS)


def test_notes_survive_pickling() -> None:
    error = BudgetExceeded("It is spent.", scope="run")
    error.add_note("tokenguard: $0.03 posted")

    back = pickle.loads(pickle.dumps(error))

    assert back.__notes__ == ["tokenguard: $0.03 posted"]


def _spend() -> NoReturn:
    raise BudgetExceeded("It is spent.", scope="run", asked=7)


def test_an_error_crosses_a_process_pool() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(BudgetExceeded, match=r"It is spent\.") as caught,
    ):
        pool.submit(_spend).result()

    assert (caught.value.scope, caught.value.asked) == ("run", 7)


def test_every_code_is_different_and_in_snake_case() -> None:
    codes = [cls.code for cls in EVERY]

    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and code.replace("_", "").isalpha() for code in codes)


def test_facts_are_attributes_and_facts_cannot_be_changed_through_their_copy() -> None:
    error = BudgetExceeded("It is spent.", scope="run", asked=7)

    error.facts["asked"] = 8

    assert error.asked == 7


def test_an_error_without_arguments_has_an_empty_sentence() -> None:
    error = BudgetExceeded.__new__(BudgetExceeded)

    assert error.sentence == ""


def test_the_errors_are_what_python_programmers_catch() -> None:
    assert issubclass(TokenguardError, RuntimeError)
    assert issubclass(BadAmount, ValueError)
    assert issubclass(MissingExtra, ImportError)


def test_a_stop_raised_again_is_a_fresh_instance_with_the_same_facts() -> None:
    first = BudgetExceeded("It is spent.", scope="run", asked=7)

    again = first.again()

    assert again is not first
    assert (again.sentence, again.facts, again.__traceback__) == (first.sentence, first.facts, None)


STOP = SpendStopped("It is closed.", scope="run")


def _caused() -> Exception:
    error = ValueError("wrapped")
    error.__cause__ = RuntimeError("wrapped again")
    error.__cause__.__cause__ = STOP
    return error


def _in_context() -> Exception:
    error = ValueError("while handling")
    error.__context__ = STOP
    return error


def _cyclic() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    other.__context__ = STOP
    return one


@pytest.mark.parametrize(
    "error",
    [
        STOP,
        _caused(),
        _in_context(),
        _cyclic(),
        ExceptionGroup("several", [ValueError("first"), ExceptionGroup("inner", [STOP])]),
        BaseExceptionGroup("several", [KeyboardInterrupt(), STOP]),
    ],
)
def test_a_stop_is_found_wherever_it_is_wrapped(error: BaseException) -> None:
    assert find_stop(error) is STOP


def test_no_stop_is_found_where_there_is_none() -> None:
    cycle = ValueError("self")
    cycle.__cause__ = cycle

    assert find_stop(None) is None
    assert find_stop(cycle) is None
    assert find_stop(BadAmount("not a stop")) is None


def test_the_tree_in_the_docstring_names_every_error() -> None:
    drawn = errors.__doc__ or ""

    assert [cls.__name__ for cls in EVERY if cls.__name__ not in drawn] == []
