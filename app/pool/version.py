"""One version of a model: a checkpoint as it was when it was loaded first."""

import math
import time
from dataclasses import dataclass

from app.wire.messages import Load
from app.wire.model_info import ModelInfo

FIRST_SECONDS = 20.0
"""About how long a load takes of which nothing is known."""


@dataclass(frozen=True)
class Source:
    """What a model is called, and the checkpoint that it is loaded from. `least_bytes` are those of
    its weights' files, as far as they are known: it never takes less memory. `origin` is where the
    checkpoint came from, for people; `asked` is what was asked for."""

    name: str
    checkpoint: str
    least_bytes: int = 0
    origin: str = ""
    asked: str = ""


@dataclass(eq=False)
class Version:
    """What is known of a version. Whether it is loaded, its engines know.

    `max_batch` bounds its batches as `Load` has it. `known` is what an engine said of it when it
    was loaded first, and stays when it is unloaded; `latest` is what the last one said that loaded
    it. `users` are the requests and turns of jobs that need
    it now. `is_leaving`: it is unloaded as soon as there are none, since somebody said so.
    """

    source: Source
    number: int
    max_batch: int = 0
    known: ModelInfo | None = None
    latest: ModelInfo | None = None
    load_seconds: float | None = None
    memory_bytes: int | None = None
    used_at: float | None = None  # Unix seconds; a new version begins with the old one's
    loaded_at: float = 0.0  # on the monotonic clock, as are the next two
    asked_at: float = 0.0
    failed_at: float = 0.0
    failure: str | None = None
    failures: int = 0  # in a row
    has_changed: bool = False  # its weights are no longer on disk
    is_leaving: bool = False
    is_retired: bool = False  # another has taken its place
    users: int = 0

    @property
    def name(self) -> str:
        """What clients call its model."""
        return self.source.name

    @property
    def key(self) -> str:
        """What engines call it."""
        return f"{self.name}#{self.number}"

    @property
    def load(self) -> Load:
        """What an engine is told to have it: always the weights that it had the first time."""
        sha256 = None if self.known is None else self.known.sha256
        return Load(self.key, self.source.checkpoint, self.name, sha256, self.max_batch)

    @property
    def least_bytes(self) -> int:
        """Memory that it takes on each device, about; before it has been loaded, at least."""
        return self.source.least_bytes if self.memory_bytes is None else self.memory_bytes

    @property
    def is_lost(self) -> bool:
        """Can it never be loaded again?"""
        return self.failure is not None and (self.has_changed or self.is_retired)

    def seconds_left(self, typical: float = FIRST_SECONDS, before: float = 0.0) -> int:
        """Whole seconds until its load is done that was asked for, about: it takes as long as its
        last one, or `typical` seconds, after the `before` until it begins. One that takes longer
        takes a quarter of its time more."""
        expected = before + (typical if self.load_seconds is None else self.load_seconds)
        taken = time.monotonic() - self.asked_at
        return max(1, math.ceil(max(expected - taken, taken / 4 if taken > expected else 0.0)))


def name_of(key: str) -> str:
    """The name of the model that engines call by this key."""
    return key.rpartition("#")[0]
