"""The thread that looks after something: begun when there is something, gone when there is nothing."""

from __future__ import annotations

import threading

import pytest

from tokenguard.ledger.caretaker import Caretaker


def test_it_looks_until_nothing_is_left_and_begins_again() -> None:
    looks = threading.Semaphore(0)
    left = [True, False, False]

    def look() -> bool:
        looks.release()
        return left.pop(0)

    caretaker = Caretaker("caretaker", 0.001, look)
    caretaker.start()
    assert looks.acquire(timeout=10)
    assert looks.acquire(timeout=10)
    caretaker.start()

    assert looks.acquire(timeout=10)
    caretaker.stop()
    assert not left


def test_what_comes_while_it_looks_is_looked_after() -> None:
    looks = threading.Semaphore(0)

    def look() -> bool:
        if not looks._value:  # the first look
            caretaker.start()
        looks.release()
        return False

    caretaker = Caretaker("caretaker", 0.001, look)
    caretaker.start()

    assert looks.acquire(timeout=10)
    assert looks.acquire(timeout=10)
    caretaker.stop()


def test_it_is_woken_before_its_time_and_stopped_at_once() -> None:
    looked = threading.Event()
    caretaker = Caretaker("caretaker", 3600.0, lambda: looked.set() or True)
    caretaker.start()

    caretaker.wake()

    assert looked.wait(10)
    caretaker.stop()
    caretaker.stop()


def test_without_a_tick_there_is_no_thread() -> None:
    caretaker = Caretaker("no thread", None, lambda: True)

    caretaker.start()

    assert "no thread" not in {one.name for one in threading.enumerate()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_died_of_something_unforeseen_is_replaced() -> None:
    looks: list[threading.Thread] = []
    died, looked = threading.Event(), threading.Event()

    def look() -> bool:
        looks.append(threading.current_thread())
        if len(looks) == 1:
            died.set()
            raise ZeroDivisionError
        looked.set()
        return False

    caretaker = Caretaker("caretaker", 0.001, look)
    caretaker.start()
    assert died.wait(10)
    looks[0].join(10)
    caretaker.start()

    assert looked.wait(10)
    caretaker.stop()
    assert looks[0] is not looks[1]
