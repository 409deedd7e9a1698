"""The engine as a process: how it ends."""

import socket
import subprocess
import sys

from app.engine.blackbox import BlackBox
from app.engine.messages import Frame, Submit
from app.engine.options import Options
from app.engine.process import SocketChannel


def test_when_the_api_process_goes_away_in_the_middle_of_a_step_it_ends_in_order() -> None:
    options = Options("models/mnist", "cpu", "openvino", threads=2, max_batch=16)
    box = BlackBox.create()
    ours, theirs = socket.socketpair()
    fds = (theirs.fileno(), box.fd)
    command = [sys.executable, "-m", "app.engine.process", *map(str, fds), *options.arguments()]
    with subprocess.Popen(command, pass_fds=fds, stderr=subprocess.PIPE, text=True) as engine:
        theirs.close()
        channel = SocketChannel(ours)
        every = tuple(range(1000))
        channel.send(Submit("job", 1, tuple(range(16)), (3,) * 16, "ddpm", 1000, shown=every))
        while not any(isinstance(message, Frame) for message in channel.receive(wait=True)):
            pass
        ours.close()
        _, err = engine.communicate(timeout=60)
    box.close()
    assert (engine.returncode, err) == (0, "")
