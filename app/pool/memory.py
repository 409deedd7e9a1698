"""Which engines have room for a model, and which of their models make it, within the memory that
all models of an engine may take."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.pool.engine import HasModels
from app.pool.registry import Registry
from app.pool.version import Version

MIB = 1 << 20
RECENT_SECONDS = 30.0
"""Time for which a model that was used stays, although another could be loaded once more."""


@dataclass(frozen=True)
class Holder:
    """A model that an engine has or loads: the bytes that it takes, when it was last used (0.0:
    never), and whether it may be unloaded now; whether another engine has it, too, or is to have
    it."""

    key: str
    size: int
    used_at: float
    is_idle: bool
    is_elsewhere: bool = False
    is_to_be_elsewhere: bool = False


def victims(holders: Sequence[Holder], size: int, bound: int) -> list[str] | None:
    """The keys of those to unload so that `size` more bytes are within `bound`: the least recently
    used first; of those never used, first what others have, and then the last. None: there is no
    room, whichever are.
    """
    found: list[str] = []
    excess = sum(holder.size for holder in holders) + size - bound
    order = {
        holder.key: (holder.used_at, not holder.is_elsewhere, not holder.is_to_be_elsewhere, -i)
        for i, holder in enumerate(holders)
    }
    for holder in sorted(holders, key=lambda holder: order[holder.key]):
        if excess <= 0:
            break
        if holder.is_idle:
            found.append(holder.key)
            excess -= holder.size
    return found if excess <= 0 else None


@dataclass(frozen=True)
class Place:
    """An engine that may load a version, after it has unloaded the `victims`; None: it has no room
    for it now."""

    engine: HasModels
    victims: list[Version] | None

    def used_at(self) -> float:
        """When one of these was used last; 0.0: never, or there are none."""
        return max((victim.used_at or 0.0 for victim in self.victims or ()), default=0.0)


class Memory:
    """So many bytes of each engine's device for all its models together; 0: as many as there
    are."""

    def __init__(self, models: Registry, max_bytes: int) -> None:
        self._models = models
        self._max_bytes = max_bytes

    def places(self, version: Version) -> list[Place]:
        """The engines that are to load a version: all that have room for it; or the one where it
        takes the place of what was used least recently. None: there is no room now."""
        found = [Place(engine, self.victims(engine, version)) for engine in self._models.engines]
        free = [place for place in found if place.victims == []]
        possible = [place for place in found if place.victims]
        return free or sorted(possible, key=Place.used_at)[:1]

    def more_places(self, version: Version, engines: Iterable[HasModels]) -> list[Place]:
        """One of these engines that may load a version which others have: where it takes no place,
        or the place of what nobody used for RECENT_SECONDS."""
        found = [Place(engine, self.victims(engine, version)) for engine in engines]
        before = time.time() - RECENT_SECONDS
        possible = [p for p in found if p.victims is not None and p.used_at() < before]
        return sorted(possible, key=Place.used_at)[:1]

    def fitting(self, versions: Iterable[Version]) -> list[Version]:
        """Choose what an engine loads that has no model yet: as many of the versions as there is
        room for, first those in use and then the most recently used; in their order."""
        given, left = list(versions), self._max_bytes
        if not left:
            return given
        chosen = set()
        for version in sorted(given, key=lambda v: (not v.users, -(v.used_at or 0.0))):
            if version.least_bytes <= left:
                chosen.add(version.key)
                left -= version.least_bytes
        return [version for version in given if version.key in chosen]

    def victims(self, engine: HasModels, version: Version | None) -> list[Version] | None:
        """Which versions an engine is to unload so that it has room for another, or, for None, that
        no more is taken than may be. None: it has no room now."""
        if not self._max_bytes:
            return []
        held = {
            other.key: other
            for other in self._models.all_versions()
            if other is not version and other.key in engine.loads.wanted
        }
        holders = [
            Holder(
                key,
                other.least_bytes,
                other.used_at or 0.0,
                self._may_go(engine, other, version),
                self._is_elsewhere(engine, other),
                any(key in e.loads.wanted for e in self._models.engines if e is not engine),
            )
            for key, other in held.items()
        ]
        size = 0 if version is None else version.least_bytes
        found = victims(holders, size, self._max_bytes)
        return None if found is None else [held[key] for key in found]

    def most(self, version: Version, size: int) -> int:
        """The bytes that a version takes of which an engine says `size`: the most that any engine
        has said. What has fitted once is not given up for a later figure, which may be too large:
        an engine's memory grows for other reasons, too."""
        if version.memory_bytes is None:
            return size
        most = max(size, version.memory_bytes)
        return min(most, self._max_bytes) if self._max_bytes else most

    def refusal(self, version: Version, *, is_loaded: bool = False) -> str | None:
        """Why there will never be room for a version, if that is so. One that `is_loaded` has it
        beside the one that it is to replace."""
        size, bound = version.least_bytes, self._max_bytes
        takes = f"it takes {mib(size)} of memory, and --model-memory is {mib(bound)}"
        if not bound:
            return None
        if size > bound:
            return takes
        entry = self._models.find(version.name)
        old = entry.version
        is_beside = entry.replacement is version and self._models.is_wanted(old)
        if is_beside and not is_loaded and size + old.least_bytes > bound:
            beside = f"{mib(old.least_bytes)} of the version that it is to replace"
            return f"{takes}, beside the {beside}: unload that before"
        return None

    def _may_go(self, engine: HasModels, held: Version, version: Version | None) -> bool:
        """May an engine unload a version now to make room for another?"""
        models = self._models
        if engine.has_jobs(held.key):
            return False
        if self._is_elsewhere(engine, held):
            return True  # also while it is being loaded here
        if held.users or not engine.serves(held.key):
            return False
        if version is None:
            return True
        if models.find(version.name).version is held:  # it serves until its replacement does
            return False
        return not models.is_for_jobs(held) or models.has_had_its_time(held)

    def _is_elsewhere(self, engine: HasModels, held: Version) -> bool:
        return any(e.serves(held.key) for e in self._models.engines if e is not engine)


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{max(1, round(size / MIB))} MiB"
