"""An engine with its threads and its loader, in the process of the tests."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from app.engine.engine import Engine
from app.engine.lane_threads import LaneThreads
from app.engine.loader import Loader
from app.engine.loading import Wrap, as_it_is
from app.wire.channel import Disconnected, SocketChannel
from app.wire.messages import Done, Finished, Load, Loaded, Message, Submit, Unusable
from app.wire.options import Options


class Running:
    """One of them, with a socket to it."""

    def __init__(self, runtime: str = "eager", wrap: Wrap = as_it_is) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        self.socket, self.channel = ours, SocketChannel(ours)
        self.loader = Loader(Options("cpu", runtime, threads=2), wrap)
        self.engine = Engine()
        self.lanes = LaneThreads(SocketChannel(theirs), self.engine, self.loader.ask)
        self.loader.start(self.lanes)
        self.told: list[Message] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with pytest.raises(Disconnected):
            self.lanes.serve()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._thread.join()

    def ask(self, *messages: Message) -> None:
        self.channel.send(*messages)

    def hear(self, *kinds: type[Message]) -> Any:
        """What is told next of these kinds; everything before it is kept in `told`."""
        while True:
            for place, message in enumerate(self.told):
                if isinstance(message, kinds):
                    return self.told.pop(place)
            self.told += self.channel.receive(wait=True)

    def load(self, key: str, folder: Path, **fields: Any) -> Any:
        """Load a model; what came of it."""
        self.ask(Load(key, str(folder), f"name of {key}", max_batch=4, **fields))
        return self.hear(Loaded, Unusable)

    def images(self, submit: Submit) -> dict[int, bytes]:
        """What is made of a job while there is no other."""
        self.ask(submit)
        self.hear(Done)
        made = {m.index: m.x_0 for m in self.told if isinstance(m, Finished) and m.id == submit.id}
        self.told.clear()
        return made
