"""Memory that two processes share, and that one of them may die over."""

import os
import subprocess
import sys

from app.wire.flight_recorder import SIZE, BlackBox, Place

WRITE = """
import os, signal, sys
from app.wire.flight_recorder import BlackBox, Place
box = BlackBox(int(sys.argv[1]))
box.begin(1, [Place("a", 0, 5)])
box.begin(2, [Place("a", 0, 6), Place("b", 7, 0)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_process_was_doing_is_known_after_its_death() -> None:
    box = BlackBox.create()
    assert (box.oldest, box.last()) == (0, [])
    subprocess.run([sys.executable, "-c", WRITE, str(box.fd)], pass_fds=[box.fd])
    assert box.oldest == 2
    assert box.last() == [Place("a", 0, 6), Place("b", 7, 0)]
    box.close()


def test_a_batch_too_large_for_it_is_counted_without_its_list() -> None:
    box = BlackBox.create()
    box.begin(1, [Place("a", 0, 0)])
    box.begin(2, [Place("x" * SIZE, 0, 1)])
    assert (box.oldest, box.last()) == (2, [])
    box.close()


def test_closing_gives_back_the_file_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    BlackBox.create().close()
    assert len(os.listdir("/proc/self/fd")) == before
