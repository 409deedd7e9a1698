"""The threads of an engine, one for each lane, and what joins them to whoever gives them work."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from app.engine.engine import Engine
from app.engine.network import Network
from app.wire.messages import Cancel, Charge, Load, Message, Pause, Submit, Unload

COUNT_SECONDS = 1.0
"""Time between two reports of the engine's counts."""
MAX_HOLD_SECONDS = 10.0
"""Time for which the lanes rest, at most, because somebody holds the machine: what hangs there is
to hang alone."""


class Channel(Protocol):
    """A connection to whoever gives the engine work. Its methods raise `wire.channel.Disconnected`
    once there is nobody any more."""

    def send(self, *messages: Message) -> None:
        """Tell what came of the work."""

    def wait(self) -> None:
        """Return once something has arrived, or there is nobody any more. One thread at a time
        waits, whatever others send meanwhile."""

    def receive(self, *, wait: bool) -> Iterable[Message]:
        """What has arrived; with `wait`, at least something."""


def refuse(message: Load | Unload) -> None:
    """Load no networks."""
    raise ValueError(f"{message} is asked of an engine whose networks stay the same")


class LaneThreads:
    """A thread for each lane of the engine. One at a time holds the lock, under which it hears what
    is asked for, begins steps on its lane or ends one; meanwhile the others run the network.

    Other threads may add and remove networks, and hold the machine for themselves.
    """

    def __init__(
        self, channel: Channel, engine: Engine, load: Callable[[Load | Unload], None] = refuse
    ) -> None:
        """`load` is given what is asked for about networks; it returns at once."""
        self._channel = channel
        self._engine = engine
        self._load = load
        self._lock = threading.Condition(threading.Lock())
        self._helpers: list[threading.Thread] = []  # of the lanes from 1
        self._torch_threads: int | None = None  # that each lane is to use; None: as they are
        self._counted = time.monotonic()
        self._is_listening = False  # is a lane waiting for messages, without the lock?
        self._is_wanted = False  # is the machine held, or about to be?
        self._held_since: float | None = None
        self._lanes_until = 0.0  # when the machine may be held again
        self._error: BaseException | None = None

    def serve(self) -> None:
        """Work until the channel closes. Raises Disconnected, or what else ended a thread."""
        with self._lock:
            self._start_helpers()
        self._drive(0)
        for helper in self._helpers:
            helper.join()
        if self._error is not None:
            raise self._error

    def tell(self, *messages: Message) -> None:
        """Send messages from a thread that is no lane's. Raises Disconnected."""
        with self._lock:
            self._channel.send(*messages)

    def add(self, network: Network[Any], torch_threads: int) -> None:
        """Take jobs of a network; every lane's share of PyTorch has so many threads from now on."""
        with self._lock:
            self._engine.add(network)
            self._torch_threads = torch_threads
            self._start_helpers()

    def remove(self, network: Network[Any]) -> None:
        """Fail what is left of a network's jobs, and return once none of its steps is under
        way. Raises Disconnected."""
        with self._lock:
            self._engine.remove(network)
            self._channel.send(*self._engine.take_events())
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._error or not self._engine.uses(network))

    @contextmanager
    def machine(self) -> Iterator[None]:
        """Hold the machine: the lanes end what they have begun, and rest. Before it can be held
        again they work for as long, if there is something to do."""
        with self._lock:
            owed = self._lanes_until - time.monotonic()
            self._lock.wait_for(lambda: self._error or self._engine.is_idle, owed)
            asked, self._is_wanted = time.monotonic(), True
            self._lock.wait_for(lambda: self._error or not self._engine.is_at_work)
            self._held_since = time.monotonic()
            self._engine.rest()
        try:
            yield
        finally:
            with self._lock:
                self._is_wanted, self._held_since = False, None
                now = time.monotonic()
                self._lanes_until = now + (now - asked)
                self._lock.notify_all()

    def _start_helpers(self) -> None:
        """Start the threads of further lanes."""
        while len(self._helpers) + 1 < self._engine.num_lanes:
            lane = len(self._helpers) + 1
            self._helpers.append(threading.Thread(target=self._drive, args=(lane,)))
            self._helpers[-1].start()

    @torch.inference_mode()
    def _drive(self, lane: int) -> None:
        """Take step after step on the lane, until any thread fails."""
        torch_threads = None
        with self._lock:
            try:
                while self._error is None:
                    self._listen()
                    if torch_threads != self._torch_threads:  # it is a number of each thread
                        torch_threads = self._torch_threads
                        torch.set_num_threads(torch_threads or 1)
                    self._step(lane)
            except BaseException as error:
                self._error = self._error or error
            self._lock.notify_all()

    def _step(self, lane: int) -> None:
        engine = self._engine
        while not self._is_held and engine.begin(lane):
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
        elif not engine.is_idle or self._is_listening:
            self._lock.wait(MAX_HOLD_SECONDS if self._is_held else None)

    @property
    def _is_held(self) -> bool:
        """Does another thread have the machine, or wait for the lanes to leave it?"""
        since = self._held_since
        return self._is_wanted and (since is None or time.monotonic() - since < MAX_HOLD_SECONDS)

    def _listen(self) -> None:
        """Carry out what is asked for. With nothing to do on any lane, wait: one lane for messages,
        the others for that one. Every COUNT_SECONDS, and before waiting, tell the engine's
        counts."""
        is_idle = self._engine.is_idle
        if is_idle or time.monotonic() - self._counted > COUNT_SECONDS:
            self._channel.send(*self._engine.take_counts())
            self._counted = time.monotonic()
        if is_idle:
            if self._is_listening:
                return
            self._wait_for_messages()
        for message in self._channel.receive(wait=False):
            self._carry_out(message)

    def _wait_for_messages(self) -> None:
        self._is_listening = True
        self._lock.notify_all()  # somebody may wait for an engine that is idle
        self._lock.release()
        try:
            self._channel.wait()
        finally:
            self._lock.acquire()
            self._is_listening = False

    def _carry_out(self, message: Message) -> None:
        """Do what a message from the API process asks for."""
        engine = self._engine
        match message:
            case Submit():
                engine.submit(message)
            case Cancel(job_id):
                engine.cancel(job_id)
            case Pause(job_id, paused):
                engine.pause(job_id, paused=paused)
            case Charge(job_id, client):
                engine.scheduler.charge(job_id, client)
            case Load() | Unload():
                self._load(message)
