"""Memory that two processes share, and that one of them may die over."""

import errno
import os
import subprocess
import sys

import pytest

from app.wire.flight_recorder import HEADER, SIZE, FlightRecorder, Place

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


def test_a_list_that_is_cut_off_is_none() -> None:
    recorder = FlightRecorder.create()
    recorder.write(1, [Place("job", 4, 2)])
    _, size = HEADER.unpack_from(recorder._memory)
    for cut in range(1, size):  # as where a process dies while it writes the length
        HEADER.pack_into(recorder._memory, 0, 1, cut)
        assert recorder.read() == []
    recorder.close()


def test_where_memory_is_refused_no_file_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr("app.wire.flight_recorder.mmap.mmap", refused)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        FlightRecorder.create()
    assert os.listdir("/proc/self/fd") == before
