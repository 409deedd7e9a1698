"""One budget for the memory of all answers: what each takes is reserved before work begins.

It bounds the memory of the API process, whatever clients ask for and however slowly they read.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, Self, TypeVar

from app.generation.errors import AnswersFull, AnswerTooLarge
from app.generation.trim import trim

P = ParamSpec("P")
T = TypeVar("T")
WAIT_SECONDS = 2.0
"""How long a request waits for room before it is refused."""
TRIM_BYTES = 4 << 20
"""Room after which freed memory is given back to the system."""
SHARE = 0.2
"""The share of the newest answer in the mean time that answers hold their room."""


class Budget:
    """So many bytes for all answers together, on one event loop. Who came first gets room first."""

    def __init__(self, total: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self.total = total
        self.taken = 0
        self._wait_seconds = wait_seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._held_seconds = 1.0  # by an answer that has ended, about
        self._began: dict[Room, float] = {}

    async def take(self, size: int) -> "Room":
        """Reserve `size` bytes, which the caller holds until it closes the Room.

        Raises AnswerTooLarge for more than the budget has, and AnswersFull when no room gets free
        within a short time.
        """
        await self.reserve(size, size)
        return Room(self, size)

    async def reserve(self, size: int, whole: int) -> None:
        """Take `size` bytes for an answer that has `whole` bytes then. Raises as `take` does."""
        if whole > self.total:
            raise AnswerTooLarge(
                f"the answer would need {whole} bytes of memory; this server has {self.total} for "
                "all answers: ask for fewer images or frames, or for another format"
            )
        if self._waiting or self.taken + size > self.total:
            await self._wait(size)
        else:
            self.taken += size

    @property
    def retry_after(self) -> int:
        """Whole seconds after which there may be room: as long as answers took of late, or as those
        that are there have already taken."""
        now = asyncio.get_running_loop().time()
        ages = [now - began for began in self._began.values()]
        mean_age = sum(ages) / max(1, len(ages))
        return max(1, math.ceil(max(self._held_seconds, mean_age)))

    async def _wait(self, size: int) -> None:
        """Wait until `give` has taken the bytes for us."""
        entry = size, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await asyncio.shield(entry[1])
        except BaseException as error:
            if entry[1].done():  # the room came in the same moment
                self.give(size)
            else:
                self._waiting.remove(entry)
                self.give(0)  # those behind may need less
            if isinstance(error, TimeoutError):
                raise AnswersFull(
                    f"the answers that are being made and sent take {self.taken} of the "
                    f"{self.total} bytes that they may, and this one would need {size}",
                    self.retry_after,
                ) from None
            raise

    def give(self, size: int) -> None:
        """Give bytes back, and let those in who wait, as far as there is room."""
        self.taken -= size
        while self._waiting and self.taken + self._waiting[0][0] <= self.total:
            size, admitted = self._waiting.popleft()
            self.taken += size
            admitted.set_result(None)

    def enter(self, room: "Room") -> None:
        """Note that an answer has its room."""
        self._began[room] = asyncio.get_running_loop().time()

    def leave(self, room: "Room") -> None:
        """Note that an answer needs its room no more."""
        seconds = asyncio.get_running_loop().time() - self._began.pop(room)
        self._held_seconds += SHARE * (seconds - self._held_seconds)


class Room:
    """Reserved bytes of a Budget, and the calls that use them:

        with await budget.take(size) as room:
            body = await room.run(encoders, encode, result)

    A call that runs in a thread cannot be stopped. So the bytes are given back when the block has
    been left and the last call has ended.
    """

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget = budget
        self._size = self._largest = size
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._is_closed = False
        budget.enter(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._budget.leave(self)
        self._settle()

    async def grow(self, size: int) -> None:
        """Have `size` bytes in all, as far as they are not there yet. Raises as `Budget.take`
        does."""
        if size > self._size:
            await self._budget.reserve(size - self._size, size)
            self._size = self._largest = size

    def shrink(self, size: int) -> None:
        """Keep only `size` bytes: the rest is not needed any more."""
        if size < self._size:
            self._budget.give(self._size - size)
            self._size = size

    async def run(
        self, executor: Executor, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of a call in a thread."""
        work = executor.submit(call, *args, **kwargs)
        self._running += 1
        work.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._ended))
        return await asyncio.wrap_future(work)

    def _ended(self) -> None:
        self._running -= 1
        self._settle()

    def _settle(self) -> None:
        if self._is_closed and not self._running:
            is_large = self._largest >= TRIM_BYTES
            self.shrink(0)
            if is_large:
                trim()
