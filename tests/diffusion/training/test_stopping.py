"""Signals that ask a run to end: the first is noted, the second ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from diffusion.training.stopping import listening

pytestmark = pytest.mark.usefixtures("signals")

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
TWICE = """
import os, signal
from diffusion.training.stopping import listening
with listening() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.number, flush=True)
    os.kill(os.getpid(), signal.{second})
    print("not reached")
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noted_and_told(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with listening() as stop:
        assert stop.number == 0
        os.kill(os.getpid(), number)
        assert stop.number == number
    told = f"\n{number.name}: ending after this step; a second one ends at once\n"
    assert capfd.readouterr().err == told
    assert [signal.getsignal(each) for each in NUMBERS] == before


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_one_ends_the_process_at_once(second: str) -> None:
    command = [sys.executable, "-c", TWICE.format(second=second)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.Signals[second]
    assert ended.stdout == "2\n"


def test_workers_that_are_not_the_first_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with listening(silent=True) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        with listening() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.number == 0
    finally:
        signal.signal(signal.SIGHUP, before)
