"""The threads of an engine, one for each lane, and what joins them to whoever gives them work."""

import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

import torch

from app.engine.engine import Engine
from app.wire.messages import Cancel, Message, Pause, Submit

COUNT_SECONDS = 1.0
"""Time between two reports of the engine's counts."""


class Channel(Protocol):
    """A connection to whoever gives the engine work. Its methods raise `wire.channel.Disconnected`
    once there is nobody any more."""

    def send(self, *messages: Message) -> None:
        """Tell what came of the work."""

    def receive(self, *, wait: bool) -> Iterable[Message]:
        """What has arrived; with `wait`, at least something."""


class LaneThreads:
    """A thread for each lane of the engine. One at a time holds the lock, under which it hears what
    is asked for, begins steps on its lane or ends one; meanwhile the others run the network."""

    def __init__(self, channel: Channel, engine: Engine[Any]) -> None:
        self._channel = channel
        self._engine = engine
        self._lock = threading.Condition(threading.Lock())
        self._counted = time.monotonic()
        self._error: BaseException | None = None

    def serve(self) -> None:
        """Work until the channel closes. Raises Disconnected, or what else ended a thread."""
        lanes = range(1, self._engine.runner.num_lanes)
        helpers = [threading.Thread(target=self._drive, args=(lane,)) for lane in lanes]
        for helper in helpers:
            helper.start()
        self._drive(0)
        for helper in helpers:
            helper.join()
        if self._error is not None:
            raise self._error

    @torch.inference_mode()
    def _drive(self, lane: int) -> None:
        """Take step after step on the lane, until any thread fails."""
        with self._lock:
            try:
                while self._error is None:
                    self._step(lane)
            except BaseException as error:
                self._error = self._error or error
            self._lock.notify_all()

    def _step(self, lane: int) -> None:
        engine = self._engine
        self._listen()
        while engine.begin(lane):
            pass
        call = engine.oldest(lane)
        self._channel.send(*engine.take_events())
        self._lock.notify_all()
        if call is not None:
            self._lock.release()
            try:
                engine.run(call)
            finally:
                self._lock.acquire()
            engine.end(lane)
            self._channel.send(*engine.take_events())
        elif not engine.is_idle:
            self._lock.wait()

    def _listen(self) -> None:
        """Carry out what is asked for. With nothing to do on any lane, wait: that keeps nobody from
        the lock. Every COUNT_SECONDS, and before waiting, tell the engine's counts."""
        is_idle = self._engine.is_idle
        if is_idle or time.monotonic() - self._counted > COUNT_SECONDS:
            self._channel.send(*self._engine.take_counts())
            self._counted = time.monotonic()
        for message in self._channel.receive(wait=is_idle):
            carry_out(self._engine, message)


def carry_out(engine: Engine[Any], message: Message) -> None:
    """Do what a message from the API process asks for."""
    match message:
        case Submit():
            engine.submit(message)
        case Cancel(job_id):
            engine.cancel(job_id)
        case Pause(job_id, paused):
            engine.pause(job_id, paused=paused)
