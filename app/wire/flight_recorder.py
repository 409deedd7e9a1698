"""What an engine was doing when it died, or since when it does nothing: memory that outlives it.

Engine and API process map the same pages. The engine writes which chains it is about to advance
before every step; the API process reads that after a death, and watches that steps come to an end.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgpack

SIZE = 1 << 20
HEADER = struct.Struct("<QI")  # the oldest running step's number, bytes of the list that follows


class Place(NamedTuple):
    """Where a job was: its first chain in the batch is that of `sample`, with `position` steps
    done."""

    job: str
    sample: int
    position: int


class FlightRecorder:
    """One end of the shared memory; its `fd` must be passed to the other process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, SIZE)

    @classmethod
    def create(cls) -> Self:
        """Make one, all zeros. It touches no file system where the kernel has anonymous files."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("ddpm-engine")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, SIZE)
            return cls(fd)
        except BaseException:  # no memory, or no other file: the next try must find this one free
            os.close(fd)
            raise

    def close(self) -> None:
        """Let go of this end of the memory."""
        self._memory.close()
        os.close(self.fd)

    @property
    def oldest(self) -> int:
        """The number of the step, counted from 1, that had begun first of those that were running
        when the last one began; 0 before the first."""
        return int(HEADER.unpack_from(self._memory)[0])

    def write(self, oldest: int, places: Sequence[Place]) -> None:
        """Note a step that is about to run: the oldest of those that then run, and a place for each
        job that any of them advances. A list that is too long is left out."""
        body: bytes = msgpack.packb(places)
        if len(body) > SIZE - HEADER.size:
            body = b""
        # A reader in between sees no list rather than half of one.
        HEADER.pack_into(self._memory, 0, oldest, 0)
        self._memory[HEADER.size : HEADER.size + len(body)] = body
        HEADER.pack_into(self._memory, 0, oldest, len(body))

    def read(self) -> list[Place]:
        """The places that were noted last; empty before the first step, and where the engine was
        killed while it noted them."""
        _, size = HEADER.unpack_from(self._memory)
        if not size:
            return []
        body = self._memory[HEADER.size : HEADER.size + size]
        try:
            return [Place(*place) for place in msgpack.unpackb(body)]
        except (ValueError, TypeError):
            return []
