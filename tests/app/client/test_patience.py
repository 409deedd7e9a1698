"""How long a client keeps trying, on a clock that the test sets."""

import pytest

from app.client.errors import ClientError, TimedOut, Unavailable, Unreachable
from app.client.patience import MIN_SECONDS, Patience

AWAY = Unreachable("no connection to the server")


class Clock:
    """Stands in for `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.client.patience.time", clock)
    return clock


def pause(patience: Patience, failure: ClientError = AWAY) -> float:
    (sleep,) = patience.wait(failure)
    return sleep.seconds  # type: ignore[union-attr]


def test_pauses_double_up_to_the_longest_and_something_new_makes_them_short_again() -> None:
    patience = Patience(600)
    assert [pause(patience) for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    patience.reset()
    assert pause(patience) == 0.5


def test_the_server_may_say_how_long_to_pause() -> None:
    full = Unavailable(503, "Not available", "full", retry_after=7)
    assert pause(Patience(600), full) == 7


def test_the_failure_is_raised_when_no_time_is_left_for_another_try(clock: Clock) -> None:
    patience = Patience(2)
    clock.now += 1.6
    with pytest.raises(Unreachable):
        pause(patience)


def test_time_runs_out_but_a_timeout_is_never_0(clock: Clock) -> None:
    patience = Patience(10)
    clock.now += 4
    assert patience.left() == 6
    clock.now += 20
    assert patience.left() == MIN_SECONDS
    patience.reset()
    assert patience.left() == 10


def test_only_bytes_that_are_further_than_any_before_count_as_new(clock: Clock) -> None:
    patience = Patience(10)
    patience.reached(5)
    clock.now += 4
    patience.reached(5)
    assert patience.left() == 6
    patience.reached(6)
    assert patience.left() == 10


def test_the_whole_time_ends_whatever_is_new(clock: Clock) -> None:
    patience = Patience(10, whole=12)
    patience.check()
    clock.now += 8
    patience.reset()
    assert patience.left() == 4
    clock.now += 4
    with pytest.raises(TimedOut, match="not finished in the time given"):
        patience.check()
