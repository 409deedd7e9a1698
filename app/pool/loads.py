"""Which models one engine is to have, which its present process has, and which it loads next.

A process loads one model at a time, beside the steps of those that it has.
"""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from app.wire.messages import Load, Loaded, Message, Unload, Unusable
from app.wire.model_info import ModelInfo
from app.wire.options import AUTO

TRIES = 3
"""Processes that may die while they load a model before that is left alone."""
SAME = {
    "sha256": "the checkpoint's weights have changed on disk",
    "fingerprint": "the checkpoint's configuration has changed on disk",
    "runtime": "the runtime has changed",
    "precision": "the precision has changed",
}
"""What is the same of a model each time that an engine loads it, and what is said where it is
not."""


class Listener(Protocol):
    """Who is told what becomes of the models that an engine is to load."""

    def on_loaded(self, loaded: Loaded) -> None:
        """A model can be used."""

    def on_unusable(self, unusable: Unusable, *, is_deadly: bool = False) -> None:
        """A model could not be loaded, and is not tried again; its jobs wait for what is said of
        them. `is_deadly`: process after process has died of it."""

    def on_death(self) -> None:
        """The process is gone; another one is started."""


@dataclass
class Suspect:
    """A model at whose loading a process died: whether that or a job was to blame is found out by
    loading it again when the jobs that ran `beside` it are done."""

    deaths: int = 0
    beside: set[str] = field(default_factory=set)


class Loads:
    """The models of one engine, by key. `on_change` is called when it may be able to take steps of
    others now, or in another time."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.wanted: dict[str, Load] = {}  # in the order in which they were asked for
        self.loaded: set[str] = set()
        self.current: str | None = None  # what the present process loads
        self.known: dict[str, ModelInfo] = {}  # of all that have ever been loaded here
        self._max_batch: dict[str, int] = {}  # as it must stay, or bytes may change
        self._suspects: dict[str, Suspect] = {}

    @property
    def are_settled(self) -> bool:
        """Does the process have what it is to have, and nothing else?"""
        return self.loaded == self.wanted.keys()

    def want(self, load: Load) -> None:
        """Have this model from now on."""
        pinned = self._max_batch.get(load.model)
        self.wanted[load.model] = load if pinned is None else with_batch(load, pinned)
        self.on_change()

    def forget(self, model: str) -> None:
        """Have this model no more; a process that loads it is not interrupted."""
        self.wanted.pop(model, None)
        self._suspects.pop(model, None)
        self.on_change()

    def expect(self, model: str, info: ModelInfo) -> None:
        """Take a model for what another engine said of it."""
        self.known[model] = info
        self.on_change()

    def erase(self, model: str) -> None:
        """Remember nothing of a model, which is forgotten and never wanted again."""
        self.known.pop(model, None)
        self._max_batch.pop(model, None)

    def orders(self, needed: Collection[str], running: Collection[str]) -> list[Message]:
        """What the process is to be told now: to forget what it is to have no more, and to load
        what is next, if anything: first what is `needed` by jobs, last what may have killed a
        process. `running` are the jobs that are not over."""
        unneeded = [model for model in self.loaded if model not in self.wanted]
        self.loaded.difference_update(unneeded)
        load = self._next(needed, running)
        self.current = self.current if load is None else load.model
        return [*map(Unload, unneeded), *([] if load is None else [load])]

    def accept(self, loaded: Loaded) -> str | None:
        """Note that the process has a model. Returns what of it has changed since another process
        had it, if anything."""
        model, info = loaded.model, loaded.info
        self.current = None
        self.loaded.add(model)
        self._suspects.pop(model, None)
        self.on_change()
        change = change_of(self.known.setdefault(model, info), info)
        if change is not None:
            return change
        self.known[model] = info
        if model in self.wanted and self.wanted[model].max_batch == AUTO:
            self.limit(model, info.batch_sizes[-1])
        return None

    def reject(self, model: str) -> None:
        """Note that the process could not load a model. It is not tried again."""
        self.current = None
        self.forget(model)

    def limit(self, model: str, rows: int) -> None:
        """Note that batches of a model have so many rows at most, also in the next process: others
        may change bytes."""
        self._max_batch[model] = rows
        if model in self.wanted:
            self.wanted[model] = with_batch(self.wanted[model], rows)

    def max_batch(self, model: str) -> int:
        """Rows in a batch of a loaded model, at most."""
        chosen = self.known[model].batch_sizes[-1]
        return min(chosen, self._max_batch.get(model, chosen))

    def die(self, beside: Collection[str]) -> str | None:
        """Note that the process is gone, while jobs ran `beside` its loading. Returns the model at
        whose loading that has happened too often, if it is one."""
        model, self.current = self.current, None
        self.loaded.clear()
        self.on_change()
        if model is None or model not in self.wanted:
            return None
        suspect = self._suspects.setdefault(model, Suspect())
        suspect.deaths += 1
        suspect.beside = set(beside)
        # The only one, which has been loaded before: there is nothing else that could go on.
        may_go_on = model in self.known and len(self.wanted) == 1
        return model if suspect.deaths >= TRIES and not may_go_on else None

    def _next(self, needed: Collection[str], running: Collection[str]) -> Load | None:
        if self.current is not None:
            return None
        missing = [
            model
            for model in self.wanted
            if model not in self.loaded and not self._beside(model).intersection(running)
        ]
        missing.sort(key=lambda model: (model in self._suspects, model not in needed))
        return self.wanted[missing[0]] if missing else None

    def _beside(self, model: str) -> set[str]:
        return self._suspects[model].beside if model in self._suspects else set()


def change_of(before: ModelInfo, now: ModelInfo) -> str | None:
    """What of a model has changed, if anything: its images might be others."""
    for name, change in SAME.items():
        if getattr(before, name) != getattr(now, name):
            return change
    return None


def with_batch(load: Load, rows: int) -> Load:
    """Bound the batches of a load by so many rows."""
    return dataclasses.replace(load, max_batch=rows)
