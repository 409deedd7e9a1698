"""The engine's own process: take steps, load what is asked for, and listen until the socket closes.

Started by the API process as `python -m app.engine SOCKET RECORDER OPTIONS`, with one end of a
socket pair and a flight recorder. It knows no HTTP. When its end of the socket closes, for whatever
reason, it ends: an engine never outlives its API process.
"""

import gc
import os
import select
import signal
import socket
import threading
import time

from app import logs
from app.engine.engine import Engine
from app.engine.lane_threads import LaneThreads
from app.engine.loader import Loader
from app.engine.loading import Wrap, as_it_is
from app.wire.channel import Disconnected, SocketChannel
from app.wire.flight_recorder import FlightRecorder
from app.wire.options import Options

END_SECONDS = 10.0
"""Time that running steps have once the API process is gone."""


def outlive_for(seconds: float, connection: socket.socket) -> None:
    """Wait for the API process to go away, then end this process after `seconds`, whatever hangs
    here."""
    closed = select.poll()
    closed.register(connection, 0)
    closed.poll()
    time.sleep(seconds)
    os._exit(1)


def main(wrap: Wrap = as_it_is) -> None:
    """Run until the API process goes away. `wrap` may put something around each network's board."""
    for stopping in (signal.SIGINT, signal.SIGTERM):  # what they stop, the API process decides
        signal.signal(stopping, signal.SIG_IGN)
    fd, recorder_fd, options = Options.parse()
    logs.configure(options.log_format, options.log_level)
    connection = socket.socket(fileno=fd)
    threading.Thread(target=outlive_for, args=(END_SECONDS, connection), daemon=True).start()
    loader = Loader(options, wrap)
    engine = Engine(on_step=FlightRecorder(recorder_fd).write)
    lanes = LaneThreads(SocketChannel(connection), engine, loader.ask)
    gc.freeze()  # what is imported stays: to look through it again would stop the lanes
    loader.start(lanes)
    try:
        lanes.serve()
    except Disconnected:
        if loader.is_busy:  # a compiler that is at work does not bear the interpreter's end
            os._exit(0)


if __name__ == "__main__":
    main()
