"""Pictures and states that clients send: decoded in processes of their own, a few at a time.

What the decoder of a hostile file does (it hangs, takes all memory, dies) happens there. A process
is started when it is first needed, and again after it had to be killed.
"""

import asyncio
import contextlib
import math
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

import msgpack
import numpy as np

from app.generation.errors import InvalidField, PicturesBusy, Refusal, TooManyOwnPictures
from app.wire.codec import HEADER
from app.wire.environment import same_modules

Array = np.ndarray
COMMAND = (sys.executable, "-P", "-m", "app.generation.picture_worker")
WORKERS = 2
"""Processes that decode."""
SECONDS = 10.0
"""Time that what one request sends may take to decode."""
WAIT_SECONDS = SECONDS + 5.0
"""Time that a request waits for its turn and for a process: longer than one before it takes."""
MAX_BYTES = 32 << 20
"""Bytes of all that one request sends, decoded, at most."""
MAX_PICTURES = 2000
"""Pictures of one request, at most: small ones take about 2 ms each, so that these are decoded in
half of the time even by a slow machine."""
SHOWN = 40
"""Characters of a picture that a message repeats."""


Outcome = Literal["decoded"] | Refusal
"""What became of something that a client sent."""


class Sent(NamedTuple):
    """Something that a client sent in base64."""

    name: str  # of the field in the request's body, as start.image[2]
    text: str

    @classmethod
    def each(cls, name: str, given: str | Sequence[str]) -> list["Sent"]:
        """What a field has: one thing under its name, or several under theirs."""
        if isinstance(given, str):
            return [cls(name, given)]
        return [cls(f"{name}[{i}]", text) for i, text in enumerate(given)]


class States(NamedTuple):
    """States x_t, float32 (n,C,H,W), and the paper's t at which they are, if their file says it."""

    x_t: Array
    t: int | None


class Pictures:
    """Decodes what clients send. Its methods raise InvalidField, which names the field and the
    reason; and PicturesBusy while too many others send pictures, too."""

    def __init__(
        self,
        workers: int = WORKERS,
        seconds: float = SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        count: Callable[[Outcome, float], None] = lambda *_: None,
    ) -> None:
        """`count` is told what became of each thing, and in how many seconds; these are also those
        of the start of a process, where it had to be started."""
        self._seconds = seconds
        self._count = count
        self._wait_seconds = wait_seconds
        self._workers = [Worker() for _ in range(workers)]
        self._free = asyncio.Semaphore(workers)
        self._turns = WeakValueDictionary[str, asyncio.Lock]()  # of clients that have one, or wait

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """A block in which a client's request has its pictures decoded, while its others wait: slow
        ones of one client leave a process for everybody else. Raises TooManyOwnPictures."""
        turn = self._turns.setdefault(client, asyncio.Lock())
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn.acquire()
        except TimeoutError:
            reason = "other pictures of yours are being decoded, one request's at a time"
            raise TooManyOwnPictures(reason, math.ceil(self._seconds)) from None
        try:
            yield
        finally:
            turn.release()

    async def images(
        self, sent: Sequence[Sent], image_shape: tuple[int, int, int], *, resize: bool
    ) -> list[Array]:
        """Pictures as images of a model, uint8 (C,H,W). Others than of its size are refused, or
        scaled and cut in the middle with `resize`."""
        if not sent:
            return []
        most = min(MAX_PICTURES, MAX_BYTES // math.prod(image_shape))
        if len(sent) > most:
            reason = (
                f"a request has at most {most} pictures for this model; send the others in further "
                "requests, to /sample with first_index"
            )
            raise InvalidField(sent[0].name.partition("[")[0], len(sent), reason)
        tasks = [
            {"kind": "picture", "text": text, "shape": image_shape, "resize": resize}
            for _, text in sent
        ]
        answers = await self._answers(sent, tasks)
        return [_array(answer, np.uint8) for answer in answers]

    async def states(self, sent: Sent, t: int | None) -> States:
        """States of an .npz or .npy; of trajectories those at t. Without a t it is the file's."""
        task = {"kind": "states", "text": sent.text, "t": t, "max_bytes": MAX_BYTES}
        (answer,) = await self._answers([sent], [task])
        return States(_array(answer, np.dtype("<f4")), answer["t"])

    async def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            await worker.end()

    async def _answers(
        self, sent: Sequence[Sent], tasks: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        answers = []
        clock = asyncio.get_running_loop().time
        async with self._worker() as worker:
            deadline = clock() + self._seconds
            for (name, text), task in zip(sent, tasks, strict=True):
                began = clock()
                answer = await self._answer(worker, task, deadline)
                self._count(answer.get("refusal", "decoded"), clock() - began)
                if "reason" in answer:
                    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
                    raise InvalidField(name, shown, answer["reason"])
                answers.append(answer)
        return answers

    async def _answer(
        self, worker: "Worker", task: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout_at(deadline):
                return await worker.ask(task)
        except TimeoutError:
            reason = (
                f"it takes more than {self._seconds:g} seconds to decode what is sent; send fewer "
                "or smaller pictures in a request"
            )
            return {"reason": reason, "refusal": "too_slow"}
        except WorkerDied:
            return {"reason": "the decoder died of it", "refusal": "crash"}

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator["Worker"]:
        """A process that nobody else uses meanwhile. Raises PicturesBusy."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            reason = "too many pictures are being decoded"
            raise PicturesBusy(reason, math.ceil(self._seconds)) from None
        worker = self._workers.pop()
        try:
            yield worker
        finally:
            self._workers.append(worker)
            self._free.release()


class WorkerDied(Exception):
    """A process ended before it had answered."""


@dataclass(eq=False)
class Worker:
    """A process that decodes one thing at a time."""

    _process: asyncio.subprocess.Process | None = field(default=None)

    async def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """The answer to a task. The process is killed where its answer is not awaited. Raises
        WorkerDied."""
        content = msgpack.packb(task)
        try:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(HEADER.pack(len(content)) + content)
            await process.stdin.drain()
            (size,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
            answer: dict[str, Any] = msgpack.unpackb(await process.stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.end()
            raise WorkerDied from error
        except BaseException:
            await self.end()
            raise
        return answer

    async def end(self) -> None:
        """Kill the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            # In a session of its own: Ctrl-C is for the server, which ends it
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=same_modules(),
                start_new_session=True,
            )
        return self._process


def _array(answer: dict[str, Any], dtype: np.dtype | type) -> Array:
    return np.frombuffer(answer["array"], dtype).reshape(answer["shape"])
