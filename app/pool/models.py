"""The models of one server: which are loaded, which version of each serves.

A new version of a model is loaded beside the old one and takes its place when it is warm; the old
one is unloaded when nobody needs it any more. Which engines load it, `placement` says.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from app.pool.engine import HasModels
from app.pool.errors import CannotLoad, NotReady
from app.pool.loads import TRIES, change_of
from app.pool.placement import Placement
from app.pool.registry import FAILED_SECONDS, Entry
from app.pool.version import Source, Version
from app.wire.messages import Loaded, Unusable
from app.wire.model_info import ModelInfo

log = logging.getLogger("ddpm.models")

MAX_RETIRED = 32
"""Replaced versions that are remembered for jobs that began with them, at most, besides those that
are in use."""


class Models(Placement):
    """Loads and unloads models."""

    def __init__(
        self,
        sources: Sequence[Source],
        max_batch: int,
        max_bytes: int,
        on_unusable: Callable[[str], None],
        max_names: int = 32,
    ) -> None:
        """The models that a server is started with; the first is the default. All of them together
        take at most `max_bytes` of each device's memory; 0: as much as there is. `on_unusable` is
        told the reason when the server cannot go on. There are `max_names` models at most."""
        super().__init__(max_bytes)
        self.on_news: Callable[[], None] = lambda: None  # called when a model can be used or not
        self._max_batch = max_batch
        self._max_names = max_names
        self._on_unusable = on_unusable
        self._numbers = itertools.count(1)
        self._entries = {
            source.name: Entry(source.name, self._new(source), is_named=True) for source in sources
        }

    def start(self) -> None:
        """Have every model loaded, in their order; returns at once."""
        for entry in self:
            self.want(entry.version)

    def stop(self) -> None:
        """Try nothing again."""
        self._retries.stop_all()

    def info(self, version: Version) -> ModelInfo:
        """What an engine says of a version. Raises NotReady before it has been loaded once, and has
        it loaded."""
        if version.known is None:
            raise self.refusal(version)
        return version.known

    @contextlib.contextmanager
    def using(self, version: Version) -> Iterator[Version]:
        """Keep a version that is loaded as it is, as long as the block lasts."""
        version.users += 1
        version.used_at = time.time()
        try:
            yield version
        finally:
            version.users -= 1
            self._left_at = time.monotonic()
            if not version.users:
                self._settle()

    def refusal(self, version: Version) -> NotReady:
        """Why a version cannot be used now, after having it loaded."""
        new, coming = self._entries[version.name].replacement, version
        if self.state(version) == "unloaded" and new is not None and self.is_to_come(new):
            coming = new
        else:
            self.want(version)
        return self.why_not(version, coming)

    def want(self, version: Version) -> None:
        """Have a version loaded, unless it is, or has just failed."""
        if version.is_lost or self.is_to_come(version):
            return
        if self.state(version) == "ready" and not version.is_leaving:
            return
        now = time.monotonic()
        if version.failure is not None and now < version.failed_at + FAILED_SECONDS:
            return
        version.asked_at, version.failures, version.failure = now, 0, None
        self._waiting[version.key] = version
        self._settle()

    def replace(self, source: Source) -> Entry:
        """Load a new version of a model, or a new model, in the background; what is told of it
        meanwhile. Raises CannotLoad where there are too many models."""
        entry, version = self._entries.get(source.name), self._new(source)
        if entry is None:
            if len(self._entries) >= self._max_names:
                reason = f"this server has {self._max_names} models, and has room for no other"
                raise CannotLoad(reason)
            entry = self._entries[source.name] = Entry(source.name, version)
        elif entry.version.known is None:  # nothing to keep, should the new one fail
            self._drop(entry.version)
            entry.version = version
        else:
            if entry.replacement is not None:
                self._drop(entry.replacement)
            entry.replacement = version
        log.info("model %s is to be loaded from %s", version.name, source.origin)
        self.want(version)
        self.on_news()
        return entry

    def unload(self, name: str) -> Entry:
        """Give back a model's memory as soon as nobody uses it. It stays in the list and is loaded
        again when it is asked for, unless it has never been loaded: then it is forgotten. Raises
        UnknownModel."""
        entry = self.find(name)
        if not entry.version.users:
            self._cancel(entry.version)
        if entry.replacement is not None:
            self._drop(entry.replacement)
            entry.replacement = None
        if self.state(entry.version) != "unloaded":
            log.info("model %s is to be unloaded", name)
            entry.version.is_leaving = True
        if entry.version.known is None and not entry.is_named:
            self._drop(entry.version)
            del self._entries[name]
        self._settle()
        self._note_ready()
        return entry

    def on_loaded(self, loaded: Loaded) -> None:
        """An engine has a version: it serves from now on."""
        version = self.version(loaded.model)
        if version is None:
            return
        if version.known is None:
            version.known = loaded.info
        change = change_of(version.known, loaded.info)
        if change is not None:
            self._refuse(version, loaded.info, change)
            return
        version.latest = loaded.info
        if self.maker(version) is None:
            log.warning(
                "engines run %s on different kinds of machines: the bytes of its images may differ "
                "by engine, so answers have no ETag and are not shared",
                version.name,
            )
        version.load_seconds, version.loaded_at = loaded.seconds, time.monotonic()
        self._coming.come(loaded.seconds)
        version.memory_bytes = self._memory.most(version, loaded.memory_bytes)
        version.failure, version.failures = None, 0
        never = self._memory.refusal(version, is_loaded=True)
        if never is not None:
            self._fail(version, never)
            return
        entry = self._entries[version.name]
        entry.loads += 1
        if entry.replacement is version and self.state(version) == "ready":
            old, entry.version, entry.replacement = entry.version, version, None
            version.used_at = old.used_at
            self._retire(old)
            log.info("model %s is served by its new version", version.name)
        self._note_ready()
        self._settle()
        self.on_news()

    def on_unusable(self, unusable: Unusable, *, is_deadly: bool = False) -> None:
        """An engine could not load a version. One that was loaded before is tried again, TRIES
        times if there is another to go on with; not at all if it `is_deadly` to engines."""
        version = self.version(unusable.model)
        if version is None:
            return
        version.failures += 1
        if self.state(version) == "ready":
            self._go_without(version, unusable, is_deadly=is_deadly)
            return
        is_last = version.failures >= TRIES and (version.is_retired or self.others_serve(version))
        if unusable.has_changed or is_deadly or version.known is None or is_last:
            self._fail(version, unusable.reason, has_changed=unusable.has_changed)
            return
        version.failure = unusable.reason
        self._retries.start(version, self._load_again)

    def join(self, engine: HasModels) -> None:
        """Have an engine that comes later load what others have or are to have, as far as it has
        memory for that; what waits for memory may take the rest."""
        super().join(engine)
        self._settle()

    def leave(self) -> None:
        """An engine has left: what it alone was to load, others load where it is still needed."""
        self._settle()
        self._note_ready()

    def on_death(self) -> None:
        """An engine has died: the next one loads from now on what it had."""
        for version in self.all_versions():
            if self.is_to_come(version):
                version.asked_at = time.monotonic()

    def note_jobs(self, keys: set[str]) -> None:
        """Note which versions unfinished jobs need."""
        self._wanted_by_jobs = keys
        self._settle()

    def _note_ready(self) -> None:
        """Note when each model has been loaded once that is to be loaded at the start."""
        if not any(self.is_awaited(entry) for entry in self):
            self.has_been_ready.set()

    def _new(self, source: Source) -> Version:
        return Version(source, next(self._numbers), self._max_batch)

    def _go_without(self, version: Version, unusable: Unusable, *, is_deadly: bool) -> None:
        """Leave an engine for now without a version that another one serves."""
        log.error("an engine goes without %s: %s", version.name, unusable.reason)
        if not (unusable.has_changed or is_deadly or version.failures >= TRIES):
            self._retries.start(version, self._load_again)

    def _refuse(self, version: Version, info: ModelInfo, change: str) -> None:
        """Have no engine make images of a version that are not the version's: that which has it so
        goes without it, where another one serves it."""
        differing = [e for e in self.engines if e.loads.known.get(version.key) is info]
        if any(e.serves(version.key) for e in self.engines if e not in differing):
            log.error("an engine goes without %s: %s", version.name, change)
            for engine in differing:
                engine.fail(version.key, f"the model {version.name} cannot be loaded: {change}")
        else:
            self._fail(version, change, has_changed=True)

    def _load_again(self, version: Version) -> None:
        if self.state(version) != "ready":
            self._waiting[version.key] = version
            self._settle()
            return
        self._place_besides(version)

    def _settle(self) -> None:
        """Unload what nobody needs any more, and load what there is room for."""
        for version in filter(self.is_over, self.all_versions()):
            version.is_leaving = False
            self._retries.stop(version)
            if self.state(version) != "ready":  # else it was asked for again
                self._waiting.pop(version.key, None)
            self._unload(version)
        for version in filter(self._is_missing, self.all_versions()):
            version.asked_at = time.monotonic()
            self._waiting[version.key] = version
        for version in list(self._waiting.values()):
            if version.key in self._waiting and self._may_come(version):
                never = self._memory.refusal(version)
                if never is None:
                    self._place(version)
                else:
                    self._fail(version, never)
        self._settle_memory()

    def _is_missing(self, version: Version) -> bool:
        """Is it used, or to replace another, although no engine has it or loads it? Then the one
        that did has left."""
        is_needed = version.users > 0 or self._entries[version.name].replacement is version
        is_there = self.state(version) == "ready" or self.is_to_come(version)
        return is_needed and not is_there and version.failure is None

    def _may_come(self, version: Version) -> bool:
        """May a version be loaded that waits? One that is leaving only for those that use it, if no
        engine has it any more."""
        return not version.is_leaving or (version.users > 0 and not self.is_wanted(version))

    def _cancel(self, version: Version) -> None:
        """Do not begin to load a version."""
        self._waiting.pop(version.key, None)
        self._retries.stop(version)

    def _drop(self, version: Version) -> None:
        """Forget a version that has never served."""
        self._cancel(version)
        self._held.pop(version.key, None)
        for engine in self.engines:
            engine.fail(version.key, f"the model {version.name} is replaced; ask again")

    def _retire(self, version: Version) -> None:
        version.is_retired = True
        if not version.users:
            self._cancel(version)
        self._retired.append(version)
        unused = [retired for retired in self._retired if not retired.users]
        for forgotten in unused[:-MAX_RETIRED]:
            self._unload(forgotten)
            self._retired.remove(forgotten)
            for engine in self.engines:
                engine.loads.erase(forgotten.key)

    def _fail(self, version: Version, reason: str, *, has_changed: bool = False) -> None:
        """Give a version up, whose requests end for this reason; the server ends where it cannot go
        on without."""
        log.error("model %s cannot be loaded: %s", version.name, reason)
        self._cancel(version)
        self._held.pop(version.key, None)
        version.failure, version.failed_at = reason, time.monotonic()
        version.has_changed = has_changed
        entry = self._entries[version.name]
        for engine in self.engines:
            engine.fail(version.key, f"the model {version.name} cannot be loaded: {reason}")
        if not self.has_been_ready.is_set() and entry.is_named and entry.version is version:
            self._on_unusable(reason)
        elif not any(map(self.may_serve, self)):
            self._on_unusable(f"{reason}; restart the server")
        self._settle()
        self.on_news()
