from datetime import UTC, datetime, timedelta, timezone

from tokenguard.testing import FakeClock, scripted_guard


def test_a_fake_clock_stands_still() -> None:
    clock = FakeClock()

    assert clock.now() == clock.now() == datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert clock.monotonic() == clock.monotonic()


def test_time_that_passes_moves_both_clocks() -> None:
    clock = FakeClock()
    began, began_s = clock.now(), clock.monotonic()

    clock.advance(90)

    assert clock.now() - began == timedelta(seconds=90)
    assert clock.monotonic() - began_s == 90


def test_a_wall_clock_that_is_set_back_leaves_durations_alone() -> None:
    clock = FakeClock()
    began, began_s = clock.now(), clock.monotonic()

    clock.jump(-3_600)

    assert began - clock.now() == timedelta(hours=1)
    assert clock.monotonic() == began_s


def test_instants_are_utc_wherever_the_clock_begins() -> None:
    clock = FakeClock(datetime(2026, 1, 5, 12, tzinfo=timezone(timedelta(hours=2))))

    assert clock.now().isoformat() == "2026-01-05T10:00:00+00:00"


def test_a_scripted_guard_books_at_the_instant_of_its_own_clock() -> None:
    with scripted_guard(["four"]) as guard, guard.run("agent") as run:
        reply = guard.completion("openai/gpt-5-mini", [{"role": "user", "content": "2 + 2?"}])

    assert reply.choices[0].message.content == "four"
    assert run.receipt().node.started_at == FakeClock().now()
