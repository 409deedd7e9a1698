"""One budget for the memory of all answers: what each takes is reserved before work begins.

It bounds the memory of the API process, whatever clients ask for and however slowly they read. One
client has at most half of it, so that others are answered meanwhile.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Self, TypeVar, TypeVarTuple

from app.generation.errors import AnswersFull, AnswerTooLarge, ClientHoldsTooMuch
from app.generation.trim import trim

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
WAIT_SECONDS = 2.0
"""How long a request waits for room before it is refused."""
TRIM_BYTES = 4 << 20
"""Room after which freed memory is given back to the system."""
NEWEST = 0.2
"""The weight of the newest answer in the mean time that answers hold their room."""


@dataclass(frozen=True)
class Ask:
    """`size` more bytes for an answer of `client` that has `whole` bytes then."""

    client: str
    size: int
    whole: int


class Budget:
    """So many bytes for all answers together, on one event loop. Who came first gets room first.

    A client has at most half of the bytes, `share`; a larger answer only while it has no other.
    """

    def __init__(self, total: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self.total = total
        self.share = total // 2
        self.taken = 0
        self._of_client: Counter[str] = Counter()  # bytes; without clients that have none
        self._wait_seconds = wait_seconds
        self._waiting: list[tuple[Ask, asyncio.Future[None]]] = []
        self._held_seconds = 1.0  # by an answer that has ended, about
        self._began: dict[Room, float] = {}

    async def take(self, size: int, client: str) -> "Room":
        """Reserve `size` bytes, which the caller holds until it closes the Room.

        Raises AnswerTooLarge for more than the budget has; when no room gets free within a short
        time, ClientHoldsTooMuch if that is for the client's own answers, else AnswersFull.
        """
        await self.reserve(Ask(client, size, size))
        return Room(self, size, client)

    async def reserve(self, ask: Ask) -> None:
        """Take the bytes. Raises as `take` does."""
        if ask.whole > self.total:
            raise AnswerTooLarge(
                f"the answer would need {ask.whole} bytes of memory; this server has {self.total} "
                "for all answers: ask for fewer images or frames, or for another format"
            )
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, admitted))
        self._admit()
        if not admitted.done():
            await self._wait(ask, admitted)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which there may be room: as long as answers took of late, or as those
        that are there have already taken."""
        now = asyncio.get_running_loop().time()
        ages = [now - began for began in self._began.values()]
        mean_age = sum(ages) / max(1, len(ages))
        return max(1, math.ceil(max(self._held_seconds, mean_age)))

    async def _wait(self, ask: Ask, admitted: asyncio.Future[None]) -> None:
        """Wait until `_admit` has taken the bytes for us."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await asyncio.shield(admitted)
        except BaseException as error:
            if admitted.done():  # the room came in the same moment
                self.give(ask.size, ask.client)
            else:
                self._waiting.remove((ask, admitted))
                self._admit()  # those behind may need less
            if isinstance(error, TimeoutError):
                raise self._refusal(ask) from None
            raise

    def _refusal(self, ask: Ask) -> Exception:
        """Why there is no room."""
        if not self._is_within_share(ask):
            held = self._of_client[ask.client]
            return ClientHoldsTooMuch(
                f"your answers that are being made and sent take {held} of the {self.share} bytes "
                f"that those of one client may, and this one would need {ask.size}",
                self.retry_after,
            )
        return AnswersFull(
            f"the answers that are being made and sent take {self.taken} of the {self.total} bytes "
            f"that they may, and this one would need {ask.size}",
            self.retry_after,
        )

    def _is_within_share(self, ask: Ask) -> bool:
        held = self._of_client[ask.client]
        is_its_only_one = held + ask.size == ask.whole
        return is_its_only_one or held + ask.size <= self.share

    def _admit(self) -> None:
        """Let in those who wait, in their order, as far as there is room. Who waits for answers of
        its own holds up nobody."""
        for ask, admitted in list(self._waiting):
            if not self._is_within_share(ask):
                continue
            if self.taken + ask.size > self.total:
                break
            self._waiting.remove((ask, admitted))
            self.taken += ask.size
            self._of_client[ask.client] += ask.size
            admitted.set_result(None)

    def give(self, size: int, client: str) -> None:
        """Give bytes of a client back."""
        self.taken -= size
        self._of_client[client] -= size
        if not self._of_client[client]:
            del self._of_client[client]
        self._admit()

    def enter(self, room: "Room") -> None:
        """Note that an answer has its room."""
        self._began[room] = asyncio.get_running_loop().time()

    def leave(self, room: "Room") -> None:
        """Note that an answer needs its room no more."""
        seconds = asyncio.get_running_loop().time() - self._began.pop(room)
        self._held_seconds += NEWEST * (seconds - self._held_seconds)


class Room:
    """Reserved bytes of a Budget, and the calls that use them:

        with await budget.take(size, client) as room:
            body = await room.run(encoders, encode, result)

    A call that runs in a thread cannot be stopped. So the bytes are given back when the block has
    been left and the last call has ended.
    """

    def __init__(self, budget: Budget, size: int, client: str) -> None:
        self._budget = budget
        self._client = client
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
            await self._budget.reserve(Ask(self._client, size - self._size, size))
            self._size = self._largest = size

    def shrink(self, size: int) -> None:
        """Keep only `size` bytes: the rest is not needed any more."""
        if size < self._size:
            self._budget.give(self._size - size, self._client)
            self._size = size

    async def run(self, executor: Executor, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """The result of a call in a thread."""
        work = executor.submit(call, *args)
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
