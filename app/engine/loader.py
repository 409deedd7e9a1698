"""Loads and unloads networks, one after another, in a thread beside the lanes."""

import logging
import queue
import threading
import time
from typing import Any

import torch

from app.engine.lane_threads import LaneThreads
from app.engine.loading import WeightsChanged, Wrap, as_it_is, load
from app.engine.memory import free_memory, memory_in_use
from app.engine.network import Network
from app.wire.channel import Disconnected
from app.wire.messages import Load, Loaded, Starting, Unload, Unloaded, Unusable
from app.wire.options import Options

log = logging.getLogger("ddpm.engine")


class Loader:
    """Does what is asked for about networks, in order, and tells what came of it."""

    def __init__(self, options: Options, wrap: Wrap = as_it_is) -> None:
        """`wrap` may put something around each network's board."""
        self._options = options
        self._wrap = wrap
        self._asked: queue.SimpleQueue[Load | Unload] = queue.SimpleQueue()
        self._networks: dict[str, Network[Any]] = {}  # by key
        self.is_busy = False

    def ask(self, message: Load | Unload) -> None:
        """Do this after all that was asked for before; returns at once."""
        self._asked.put(message)

    def start(self, lanes: LaneThreads) -> None:
        """Begin to work for these lanes, in a thread that ends with the process."""
        threading.Thread(target=self._work, args=(lanes,), daemon=True).start()

    def _work(self, lanes: LaneThreads) -> None:
        try:
            while True:
                message = self._asked.get()
                self.is_busy = True
                match message:
                    case Load():
                        lanes.tell(self._load(message, lanes))
                    case Unload(key):
                        self._unload(key, lanes)
                        lanes.tell(Unloaded(key))
                self.is_busy = False
        except Disconnected:  # as the lanes notice, too
            return

    def _load(self, asked: Load, lanes: LaneThreads) -> Loaded | Unusable:
        def tell(step: str, done: int = 0, total: int = 0) -> None:
            lanes.tell(Starting(asked.model, step, done, total))

        if asked.model in self._networks:
            return Unusable(asked.model, f"{asked.model} is loaded already")
        free_memory()
        started, before = time.monotonic(), memory_in_use()
        try:
            network, info = load(asked, self._options, self._wrap, tell, lanes.machine)
        except Disconnected:
            raise
        except Exception as error:
            log.debug("a model cannot be loaded", exc_info=error)
            reason, has_changed = str(error) or repr(error), isinstance(error, WeightsChanged)
        else:
            self._networks[asked.model] = network
            lanes.add(network, torch.get_num_threads())
            free_memory()
            taken = max(memory_in_use() - before, 0)
            return Loaded(asked.model, info, time.monotonic() - started, taken)
        free_memory()  # now that nothing refers to what there was of it
        return Unusable(asked.model, reason, has_changed)

    def _unload(self, key: str, lanes: LaneThreads) -> None:
        network = self._networks.pop(key, None)
        if network is not None:
            lanes.remove(network)
            del network
            free_memory()
