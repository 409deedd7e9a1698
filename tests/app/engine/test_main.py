"""The engine as a process: what it says when it starts, and how it ends."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from app.wire.channel import SocketChannel
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import Load, Loaded, Submit
from app.wire.options import Options
from tests.app.server import REAL, faulty
from tests.faulty_engine import AT_POSITION

BAD = 666


def left_in_the_middle_of_a_step(
    n: int, seed: int, has_come: Callable[[FlightRecorder], bool], engine: Sequence[str] = REAL
) -> tuple[int, str]:
    """The status and last words of an engine whose API process goes away when its flight recorder
    shows that the moment has come."""
    options = Options("cpu", "openvino", threads=2)
    recorder = FlightRecorder.create()
    ours, theirs = socket.socketpair()
    fds = (theirs.fileno(), recorder.fd)
    command = [sys.executable, "-m", *engine, *map(str, fds), *options.arguments()]
    with subprocess.Popen(command, pass_fds=fds, stderr=subprocess.PIPE, text=True) as running:
        theirs.close()
        every = tuple(range(1000))
        submit = Submit("job", "a", seed, tuple(range(n)), (3,) * n, "ddpm", 1000, shown=every)
        channel = SocketChannel(ours)
        channel.send(Load("a", "models/mnist", "mnist", max_batch=16))
        while not any(isinstance(told, Loaded) for told in channel.receive(wait=True)):
            pass
        channel.send(submit)
        while not has_come(recorder):
            assert running.poll() is None
            time.sleep(0.01)
        ours.close()
        _, err = running.communicate(timeout=120)
    recorder.close()
    return running.returncode, err


@pytest.mark.slow
def test_when_the_api_process_goes_away_in_the_middle_of_a_step_it_ends_in_order() -> None:
    ended = left_in_the_middle_of_a_step(
        n=16, seed=1, has_come=lambda recorder: recorder.oldest > 0
    )
    assert ended == (0, "")


@pytest.mark.slow
def test_when_the_api_process_goes_away_it_ends_even_if_a_lane_hangs() -> None:
    def hangs(recorder: FlightRecorder) -> bool:
        return any(place.position == AT_POSITION for place in recorder.read())

    ended = left_in_the_middle_of_a_step(2, BAD, hangs, engine=faulty(f"hang={BAD}"))
    assert ended == (1, "")
