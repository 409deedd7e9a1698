"""Which loaded models make room for another."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{max(1, round(size / MIB))} MiB"
