"""The engine as a process: how it ends."""

import os
import socket
import subprocess
import sys

from app.engine.__main__ import SocketChannel
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import Frame, Submit
from app.wire.options import Options
from tests.app.server import faulty

BAD = 666


def left_in_the_middle_of_a_step(
    n: int, seed: int, after_frames: int, **environment: str
) -> tuple[int, str]:
    """The status and last words of an engine whose API process goes away meanwhile."""
    options = Options("models/mnist", "cpu", "openvino", threads=2, max_batch=16)
    recorder = FlightRecorder.create()
    ours, theirs = socket.socketpair()
    fds = (theirs.fileno(), recorder.fd)
    command = [sys.executable, "-m", "app.engine", *map(str, fds), *options.arguments()]
    with subprocess.Popen(
        command, pass_fds=fds, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as engine:
        theirs.close()
        channel = SocketChannel(ours)
        every = tuple(range(1000))
        channel.send(Submit("job", seed, tuple(range(n)), (3,) * n, "ddpm", 1000, shown=every))
        frames = 0
        while frames < after_frames:
            received = channel.receive(wait=True)
            frames += sum(isinstance(message, Frame) for message in received)
        ours.close()
        _, err = engine.communicate(timeout=60)
    recorder.close()
    return engine.returncode, err


def test_when_the_api_process_goes_away_in_the_middle_of_a_step_it_ends_in_order() -> None:
    assert left_in_the_middle_of_a_step(n=16, seed=1, after_frames=1) == (0, "")


def test_when_the_api_process_goes_away_it_ends_even_if_a_lane_hangs() -> None:
    # One on each lane; the fault strikes in their fourth step.
    ended = left_in_the_middle_of_a_step(n=2, seed=BAD, after_frames=2 * 3, **faulty(f"hang={BAD}"))
    assert ended == (1, "")
