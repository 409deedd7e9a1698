"""Memory that two processes share, and that one of them may die over."""

import os
import subprocess
import sys

from app.wire.flight_recorder import SIZE, FlightRecorder, Place

WRITE = """
import os, signal, sys
from app.wire.flight_recorder import FlightRecorder, Place
recorder = FlightRecorder(int(sys.argv[1]))
recorder.write(1, [Place("a", 0, 5)])
recorder.write(2, [Place("a", 0, 6), Place("b", 7, 0)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_process_was_doing_is_known_after_its_death() -> None:
    recorder = FlightRecorder.create()
    assert (recorder.oldest, recorder.read()) == (0, [])
    subprocess.run([sys.executable, "-c", WRITE, str(recorder.fd)], pass_fds=[recorder.fd])
    assert recorder.oldest == 2
    assert recorder.read() == [Place("a", 0, 6), Place("b", 7, 0)]
    recorder.close()


def test_a_batch_too_large_for_it_is_counted_without_its_list() -> None:
    recorder = FlightRecorder.create()
    recorder.write(1, [Place("a", 0, 0)])
    recorder.write(2, [Place("x" * SIZE, 0, 1)])
    assert (recorder.oldest, recorder.read()) == (2, [])
    recorder.close()


def test_closing_gives_back_the_file_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    FlightRecorder.create().close()
    assert len(os.listdir("/proc/self/fd")) == before
