"""Which models a server has, which versions of each, and what is told of them; nothing here changes
which are loaded.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.pool.coming import Coming
from app.pool.engine import HasModels
from app.pool.errors import NotReady, UnknownModel
from app.pool.makers import maker
from app.pool.retries import Retries
from app.pool.version import FIRST_SECONDS, Version
from app.wire.model_info import ModelInfo

FAILED_SECONDS = 30.0
"""Time in which a model that could not be loaded is not tried again, whoever asks for it."""
RESIDENT_SECONDS = 60.0
"""Time that a model stays loaded which jobs need, although other jobs need another."""

State = Literal["ready", "loading", "unloaded"]


@dataclass(eq=False)
class Entry:
    """A model by its name: the version that serves it, and the one that is to take its place."""

    name: str
    version: Version
    replacement: Version | None = None
    is_named: bool = False  # when the server was started
    loads: int = 0  # times that an engine has loaded it


@dataclass(frozen=True)
class Counts:
    """What is counted of one model: whether it is loaded, how often an engine has loaded it, and
    the memory that it takes then."""

    name: str
    is_loaded: bool
    loads: int
    memory_bytes: int


class Registry:
    """The models and their versions, as their engines have them."""

    def __init__(self) -> None:
        self.engines: Sequence[HasModels] = ()
        self.has_been_ready = asyncio.Event()  # set when each has been loaded once
        self.may_rest = False  # may there be no engine while nobody asks?
        self._entries: dict[str, Entry] = {}
        self._retired: list[Version] = []
        self._held: dict[str, Version] = {}  # what engines are to have that come later, too
        self._waiting: dict[str, Version] = {}  # to be loaded, as soon as there is room
        self._retries = Retries()
        self._wanted_by_jobs: set[str] = set()  # keys of versions
        self._coming = Coming()
        self._left_at = time.monotonic()  # when a model was used last

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def default(self) -> Entry:
        """The model of requests that name none."""
        return next(iter(self))

    @property
    def names(self) -> list[str]:
        """The names of all models, the default's first."""
        return list(self._entries)

    @property
    def versions(self) -> list[Version]:
        """All that may be asked for: those that serve, then those that were replaced."""
        return [*(entry.version for entry in self), *reversed(self._retired)]

    @property
    def are_several(self) -> bool:
        """Is there more than one version of a model, or more than one model?"""
        return len(self.all_versions()) > 1

    @property
    def awaits_engine(self) -> bool:
        """Is a model to be loaded, and no engine there?"""
        return not self.engines and bool(self._held)

    @property
    def is_resting(self) -> bool:
        """Is no engine there, and none needed?"""
        return not (self.engines or self._held or self._waiting)

    @property
    def idle_seconds(self) -> float:
        """Seconds since a model was used last; 0 while one is."""
        if any(version.users for version in self.all_versions()):
            return 0.0
        return time.monotonic() - self._left_at

    def find(self, name: str | None) -> Entry:
        """The model with this name; None: the default. Raises UnknownModel."""
        if name is None:
            return self.default
        if name not in self._entries:
            raise UnknownModel(name, self.names)
        return self._entries[name]

    def kinds(self, version: Version) -> list[ModelInfo]:
        """What the engines say that have a version, once for each kind of machine: first the kind
        that most of them are. Of one that is not loaded it is what they last said, or what the last
        engine did where none is left."""
        key = version.key
        had = [engine for engine in self.engines if key in engine.loads.known]
        serving = [engine for engine in had if engine.serves(key)]
        infos = [engine.loads.known[key] for engine in serving or had]
        if not infos:
            return [] if version.latest is None else [version.latest]
        kinds = Counter((info.device, info.machine) for info in infos)
        first = {(info.device, info.machine): info for info in reversed(infos)}
        return [first[kind] for kind, _ in kinds.most_common()]

    def maker(self, version: Version) -> str | None:
        """Who makes the bytes of a version's images; None where its engines may make different
        ones."""
        found = {maker(info) for info in self.kinds(version)}
        return found.pop() if len(found) == 1 else None

    def checkpoint(self, name: str) -> str:
        """What a model of this name is loaded from where nothing else is said: that of the version
        which is to take its place, or else of the one that serves; what is new is built in."""
        entry = self._entries.get(name)
        if entry is None:
            return name
        new = entry.replacement
        version = entry.version if new is None or not self.is_to_come(new) else new
        return version.source.asked or version.source.checkpoint

    def version(self, key: str) -> Version | None:
        """The version that engines call by this key, unless it is forgotten."""
        return next((version for version in self.all_versions() if version.key == key), None)

    def state(self, version: Version) -> State:
        """Can it be used now, or soon?"""
        if any(engine.serves(version.key) for engine in self.engines):
            return "ready"
        return "loading" if self.is_to_come(version) else "unloaded"

    def where(self, version: Version) -> list[str]:
        """The names of the engines that have it."""
        return [engine.name for engine in self.engines if engine.serves(version.key)]

    def is_free(self, version: Version) -> bool:
        """May jobs use it now? Not while it is about to be unloaded, or to make room."""
        if self.state(version) != "ready" or version.is_leaving:
            return False
        return not (self._waiting and self.has_had_its_time(version))

    def detail(self, version: Version) -> str | None:
        """What is being done to load a version, or why it could not be loaded."""
        if version.is_leaving:
            return "it is unloaded when its last image is made"
        if self.state(version) == "ready":
            return None
        if version.key in self._waiting:
            return "waits for memory that other models take"
        if not self.engines:
            return "waits for an engine"
        for engine in self.engines:
            doing = engine.starting
            if doing is not None and doing.model == version.key:
                return str(doing)
        return version.failure

    def why_not(self, version: Version, coming: Version) -> NotReady:
        """Why a version cannot be used now, and when to ask again: when the one is loaded that is
        `coming`, itself or what takes its place."""
        if version.is_leaving:
            seconds = self.seconds_until(version)
            return NotReady(f"the model {version.name} is unloaded, and then loaded again", seconds)
        detail = self.detail(coming)
        told = f": {detail}" if detail else ""
        if coming.failure is not None and not self.is_to_come(coming):
            left = coming.failed_at + FAILED_SECONDS - time.monotonic()
            seconds = math.ceil(FAILED_SECONDS if coming.is_lost else max(1.0, left))
            return NotReady(f"the model {version.name} cannot be loaded{told}", seconds)
        seconds = self.seconds_until(coming)
        return NotReady(f"the model {version.name} is being loaded{told}", seconds)

    def counts(self) -> list[Counts]:
        """What is counted of each model."""
        return [
            Counts(
                entry.name,
                self.state(entry.version) == "ready",
                entry.loads,
                entry.version.memory_bytes or 0,
            )
            for entry in self
        ]

    def all_versions(self) -> list[Version]:
        """The `versions`, and those that are to take the place of others."""
        new = [entry.replacement for entry in self if entry.replacement is not None]
        return [*self.versions, *new]

    def is_wanted(self, version: Version) -> bool:
        """Does an engine have it, or is it to have it?"""
        if not self.engines:
            return version.key in self._held
        return any(version.key in engine.loads.wanted for engine in self.engines)

    def is_being_loaded(self, version: Version) -> bool:
        """Does an engine load it, or will it as soon as it can?"""
        is_loaded = any(engine.serves(version.key) for engine in self.engines)
        return self.is_wanted(version) and not is_loaded

    def _loads_now(self, engine: HasModels, version: Version) -> bool:
        """Does an engine load a version, or will it as soon as it can?"""
        return version.key in engine.loads.wanted and not engine.serves(version.key)

    def is_to_come(self, version: Version) -> bool:
        """Is it being loaded, or to be loaded?"""
        if version.key in self._waiting or version in self._retries:
            return True
        return self.is_being_loaded(version)

    def is_awaited(self, entry: Entry) -> bool:
        """Is the server not ready before this model has been loaded?"""
        return entry.is_named and entry.version.known is None and self.is_to_come(entry.version)

    def may_serve(self, entry: Entry) -> bool:
        """Can it serve, now or later, itself or the version that is to take its place?"""
        new = entry.replacement
        return not entry.version.is_lost or (new is not None and self.is_to_come(new))

    def others_serve(self, version: Version) -> bool:
        """Does another model serve now?"""
        others = (entry.version for entry in self if entry.version is not version)
        return any(self.state(other) == "ready" for other in others)

    def seconds_until(self, version: Version) -> int:
        """Whole seconds until a version is loaded, about: after those that come before it."""
        known = [other.load_seconds for other in self.versions if other.load_seconds is not None]
        typical = sum(known) / len(known) if known else FIRST_SECONDS
        before = [other for other in self.all_versions() if self.is_to_come(other)]
        ahead = (
            other.seconds_left(typical) for other in before if other.asked_at < version.asked_at
        )
        engine_seconds = self._coming.seconds if self._coming.is_awaited else 0.0
        return sum(ahead) + version.seconds_left(typical, engine_seconds)

    def is_for_jobs(self, version: Version) -> bool:
        """Do unfinished jobs need it?"""
        return version.key in self._wanted_by_jobs

    def is_over(self, version: Version) -> bool:
        """Is it leaving or replaced, and is there nothing left for which it is needed?"""
        if version.users or not (version.is_leaving or version.is_retired):
            return False
        return not (version.is_retired and self.is_for_jobs(version))

    def has_had_its_time(self, version: Version) -> bool:
        """Has it been loaded for so long that jobs of others have their turn?"""
        is_old = time.monotonic() > version.loaded_at + RESIDENT_SECONDS
        return is_old and self.is_for_jobs(version)
