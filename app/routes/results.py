"""The body of a job's result: read in the reader threads, and never sent where it is damaged."""

from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

from app.generation.budget import Room
from app.http.blocks import BrokenOff
from app.jobs.errors import ResultLost, SampleLost, StorageError
from app.jobs.representations import Stored
from app.jobs.service import Jobs

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Reading:
    """One request's reading of a stored result. Where samples turn out to be lost, the job makes
    them again."""

    def __init__(self, jobs: Jobs, stored: Stored, readers: Executor, room: Room) -> None:
        self._jobs = jobs
        self._stored = stored
        self._readers = readers
        self._room = room

    async def call(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """The result of `work`, which may read files. Raises ResultLost or StorageUnavailable."""
        try:
            return await self._room.run(self._readers, work, *args)
        except SampleLost as lost:
            raise await self._jobs.repair(self._stored, lost) from None

    async def blocks(self, blocks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The blocks, of which the first has been read: what is wrong with it is raised here, where
        the answer has no status yet. Later it breaks the answer off."""
        return self._sent(await self.call(next, blocks, b""), blocks)

    async def _sent(self, first: bytes, rest: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        block = first
        while block:
            yield block
            try:
                block = await self.call(next, rest, b"")
            except (ResultLost, StorageError) as error:
                raise BrokenOff(str(error)) from None
