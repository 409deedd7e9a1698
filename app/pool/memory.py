"""Which loaded models make room for another, within the memory that all of them may take."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.pool.registry import Registry
from app.pool.version import Version

MIB = 1 << 20


@dataclass(frozen=True)
class Holder:
    """A loaded model: the bytes that it takes, when it was last used (0.0: never), and whether it
    may be unloaded now."""

    key: str
    size: int
    used_at: float
    is_idle: bool


def victims(holders: Sequence[Holder], size: int, bound: int) -> list[str] | None:
    """The keys of those to unload so that `size` more bytes are within `bound`: the least recently
    used first; of those never used, the last first. None: there is no room, whichever are.
    """
    found: list[str] = []
    excess = sum(holder.size for holder in holders) + size - bound
    order = {holder.key: (holder.used_at, -i) for i, holder in enumerate(holders)}
    for holder in sorted(holders, key=lambda holder: order[holder.key]):
        if excess <= 0:
            break
        if holder.is_idle:
            found.append(holder.key)
            excess -= holder.size
    return found if excess <= 0 else None


class Memory:
    """So many bytes of each device for all models together; 0: as many as there are."""

    def __init__(self, models: Registry, max_bytes: int) -> None:
        self._models = models
        self._max_bytes = max_bytes

    def victims(self, version: Version | None) -> list[Version] | None:
        """Which versions to unload so that there is room for another, or, for None, that no more
        is taken than may be. None: there is no room now."""
        if not self._max_bytes:
            return []
        held = {
            other.key: other
            for other in self._models.all_versions()
            if other is not version and self._models.is_wanted(other)
        }
        holders = [
            Holder(key, other.least_bytes, other.used_at or 0.0, self._may_go(other, version))
            for key, other in held.items()
        ]
        size = 0 if version is None else version.least_bytes
        found = victims(holders, size, self._max_bytes)
        return None if found is None else [held[key] for key in found]

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

    def _may_go(self, held: Version, version: Version | None) -> bool:
        """May a loaded version be unloaded now to make room for another?"""
        models = self._models
        if held.users or models.state(held) != "ready":
            return False
        if version is None:
            return True
        if models.find(version.name).version is held:  # it serves until its replacement does
            return False
        return not models.is_for_jobs(held) or models.has_had_its_time(held)


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{max(1, round(size / MIB))} MiB"
