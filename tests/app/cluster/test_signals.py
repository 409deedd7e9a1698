"""Signals in a program in which a library handles them, too."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from app.cluster.signals import Signals

STOPPING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def signals() -> Iterator[Signals]:
    with Signals(hangup_stops=False) as signals:
        yield signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPPING)
def test_one_stops_the_program_and_another_hurries_it(signals: Signals, number: int) -> None:
    assert not signals.is_stopping
    send(number)
    assert signals.is_stopping
    assert not signals.is_hurried
    send(number)
    assert signals.is_hurried


def test_one_interrupts_a_start_and_nothing_after_it(signals: Signals) -> None:
    with pytest.raises(KeyboardInterrupt), signals.interrupting():
        send(signal.SIGTERM)
    send(signal.SIGTERM)
    with contextlib.suppress(KeyboardInterrupt), signals.interrupting(after=1):
        pytest.fail("what ends is interrupted by the second signal, which has come")


def test_one_that_came_before_interrupts_a_start_at_once(signals: Signals) -> None:
    send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals.interrupting():
        pytest.fail("it is not begun")
    with signals.interrupting(after=1):
        pass


def test_one_that_somebody_swallows_is_not_lost(signals: Signals) -> None:
    with signals.interrupting(), contextlib.suppress(KeyboardInterrupt):
        send(signal.SIGTERM)
    assert signals.is_stopping


def test_one_that_a_library_handles_is_not_lost(signals: Signals) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as Ray does while it starts
    with pytest.raises(SystemExit):
        send(signal.SIGTERM)
    assert signals.is_stopping
    signals.take()
    send(signal.SIGTERM)
    assert signals.is_hurried


def test_a_hangup_stops_only_what_has_nothing_to_read_again(signals: Signals) -> None:
    send(signal.SIGHUP)
    assert (signals.hangups, signals.is_stopping) == (1, False)
    with Signals(hangup_stops=True) as others:
        send(signal.SIGHUP)
        assert others.is_stopping


def test_afterwards_the_handlers_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with Signals(hangup_stops=True):
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert signal.set_wakeup_fd(-1) == -1
