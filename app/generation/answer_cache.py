"""Answers that are kept for whoever asks for the same again: bounded in bytes, and the least
recently used one goes first."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.generation.encoding import Encoded

ENTRY_BYTES = 2 << 10
"""What an answer takes besides its body, and SAMPLE_BYTES for each sample."""
SAMPLE_BYTES = 200


@dataclass(frozen=True)
class Made:
    """An answer that can be sent, and what it tells of the run that made its `n` samples: the
    fields that JSON answers begin with, and the timing."""

    encoded: Encoded
    n: int
    header: Mapping[str, Any]
    timing: Mapping[str, float]


class AnswerCache:
    """Answers by their identity, of `total` bytes together at most; 0: none is kept."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self._kept: OrderedDict[str, Made] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> Made | None:
        """The answer with this identity, if it is kept."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name]

    def put(self, name: str, made: Made) -> None:
        """Keep an answer, and let go of others as far as it needs their room. One that takes more
        than all may is not kept."""
        if name in self._kept or size(made) > self.total:
            return
        self._kept[name] = made
        self.taken += size(made)
        while self.taken > self.total:
            _, oldest = self._kept.popitem(last=False)
            self.taken -= size(oldest)


def size(made: Made) -> int:
    """Bytes that an answer takes in the cache, about."""
    return made.encoded.size + ENTRY_BYTES + made.n * SAMPLE_BYTES
