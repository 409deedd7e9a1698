"""The threads of an engine, one for each lane, and what joins them to whoever gives them work."""

import threading
import time
from collections.abc import Iterable
from typing import Protocol

import torch

from app.engine.engine import Engine
from app.wire.messages import Cancel, Event, Message, Pause, Submit

COUNT_SECONDS = 1.0


class Disconnected(Exception):
    """There is nobody to work for any more."""


class Channel(Protocol):
    """To whoever gives the engine work. Raises Disconnected."""

    def send(self, *messages: Message) -> None:
        """What came of it."""

    def receive(self, *, wait: bool) -> Iterable[Message]:
        """What has arrived; with `wait`, at least something."""


class Crew:
    """A thread for each lane of the engine. One at a time has its turn: it hears what is asked for,
    begins a step on its lane or ends one; meanwhile the others run theirs."""

    def __init__(self, channel: Channel, engine: Engine) -> None:
        self._channel = channel
        self._engine = engine
        self._turn = threading.Condition(threading.Lock())
        self._told = time.monotonic()
        self._error: BaseException | None = None

    def serve(self) -> None:
        """Until the channel closes. Raises Disconnected, or what else ended a thread."""
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
        """Step after step, until a thread fails."""
        with self._turn:
            try:
                while self._error is None:
                    self._step(lane)
            except BaseException as error:
                self._error = self._error or error
            self._turn.notify_all()

    def _step(self, lane: int) -> None:
        is_idle = self._engine.is_idle
        if is_idle or time.monotonic() - self._told > COUNT_SECONDS:
            self._tell_counts()
        # With nothing to do for any lane, waiting keeps nobody from their turn.
        for message in self._channel.receive(wait=is_idle):
            self._channel.send(*handle(self._engine, message))
        running = self._engine.begin(lane)
        self._turn.notify_all()
        if running is not None:
            self._turn.release()
            try:
                running.run(self._engine.runner)
            finally:
                self._turn.acquire()
            self._channel.send(*self._engine.end(lane))
        elif not self._engine.is_idle:
            self._turn.wait()

    def _tell_counts(self) -> None:
        """Every COUNT_SECONDS, and before resting."""
        self._channel.send(*self._engine.take_counts())
        self._told = time.monotonic()


def handle(engine: Engine, message: Message) -> list[Event]:
    """Carry out what is asked for."""
    match message:
        case Submit():
            return engine.submit(message)
        case Cancel(job_id):
            engine.cancel(job_id)
        case Pause(job_id, paused):
            engine.pause(job_id, paused=paused)
    return []
