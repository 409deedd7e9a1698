"""A database's clock that somebody sets."""

import time

import pytest

from app.jobs.clock import TRUST_SECONDS, ClockWatch


class Clocks:
    """The monotonic clock, and the database's."""

    def __init__(self) -> None:
        self.now, self.at = 1000.0, 1.8e9

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.at += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_a_clock_that_goes_on_is_trusted(clocks: Clocks) -> None:
    watch = ClockWatch()
    for seconds in (0.0, 30.0, 1e6, 30.0):
        clocks.go_on(seconds)
        clocks.at += 1.0  # it is a little fast
        assert watch.trusts(clocks.at)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
def test_after_it_was_set_nothing_expires_for_a_while(
    clocks: Clocks, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ClockWatch()
    assert watch.trusts(clocks.at)
    clocks.go_on(30.0)
    clocks.at += jump
    assert not watch.trusts(clocks.at)
    assert f"clock was set by {jump:+.0f} seconds: nothing expires" in caplog.text
    clocks.go_on(TRUST_SECONDS - 30.0)
    assert not watch.trusts(clocks.at)
    clocks.go_on(31.0)
    assert watch.trusts(clocks.at)
    assert len(caplog.records) == 1
