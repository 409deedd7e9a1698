"""Clients that wait for their answers, and those that leave before or read slowly."""

import asyncio
import contextlib
import random
import socket
import time
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import httpx

from benchmarks.soak.asking import AGAIN, Asker, verdict
from benchmarks.soak.jobs import JOB_SECONDS, Jobs
from benchmarks.soak.known import JobCase, Known, post
from benchmarks.soak.plan import Plan
from benchmarks.soak.requests import STREAM
from benchmarks.soak.seen import TELL, Lost

PATIENCE_SECONDS = 900.0
"""An answer that takes longer, with its retries, is lost. With a kill every minute, most of the
time goes into starts, on a busy machine all the more."""
WITH_KEY = 0.1
"""The part of the requests that have an Idempotency-Key."""
STUCK = 0.3
"""The part of the slow readers that do not read at all."""
RECEIVE_BYTES = 1 << 17
"""A slow reader's socket buffer: what it does not read waits at the server. One that is smaller
than a packet, 64 KiB within a machine, would make TCP itself slow."""


async def client(
    asker: Asker, known: Known, plan: Plan, source: random.Random, over: float
) -> None:
    """Ask for one of the pool, and ask again, until then (time.monotonic). Some requests are left
    before their answer."""
    with_keys_until = over - plan.seconds + plan.with_keys
    while time.monotonic() < over:
        which = source.randrange(len(known.pool))
        headers = {}
        if source.random() < WITH_KEY and time.monotonic() < with_keys_until:
            headers["Idempotency-Key"] = uuid4().hex
        if source.random() < plan.disconnects:
            with contextlib.suppress(TimeoutError, Lost):
                async with asyncio.timeout(source.uniform(0, plan.leave_within)):
                    await post(asker, known.pool[which], headers)
            asker.seen.count("clients that left")
            continue
        async with asker.seen.watching(str(known.pool[which]), PATIENCE_SECONDS):
            known.check(which, await post(asker, known.pool[which], headers))
            asker.seen.count("answers with the known bytes")


class SlowReaders:
    """Makes one big job after another, and reads its result slowly, by several at once."""

    def __init__(self, asker: Asker, case: JobCase, plan: Plan) -> None:
        self._asker = asker
        self._jobs = Jobs(asker)
        self._case = case
        self._plan = plan

    async def run(self, source: random.Random, over: float) -> None:
        """Until then (time.monotonic)."""
        while time.monotonic() < over:
            async with self._asker.seen.watching("the big job", JOB_SECONDS):
                job_id = await self._jobs.submit(self._case)
                await self._jobs.finished(job_id, by_events=False)
                self._asker.seen.count("jobs finished")
                async with asyncio.TaskGroup() as together:
                    for _ in range(self._plan.readers):
                        together.create_task(self._read(job_id, source))
                await self._jobs.delete(job_id)

    async def _read(self, job_id: str, source: random.Random) -> None:
        """Read it in some representation: slowly and wholly, or not at all for a while."""
        media_type = source.choice(sorted(self._case.expected))
        seconds = source.uniform(0.5, 1.5) * self._plan.read_seconds
        is_stuck = source.random() < STUCK
        async with self._asker.seen.watching(f"slow reader of {media_type}", JOB_SECONDS):
            content = None
            while content is None:
                content = await self._answer(job_id, media_type, seconds, is_stuck)
            if is_stuck:
                self._asker.seen.count("readers that read nothing and left")
                return
            self._case.check(media_type, content)
            self._asker.seen.count("results with the known bytes, read slowly")

    async def _answer(
        self, job_id: str, media_type: str, seconds: float, is_stuck: bool
    ) -> bytes | None:
        """The result, or nothing for a stuck reader; None when it is to be asked for again."""
        rate = len(self._case.expected[media_type]) / seconds
        begun, content = time.monotonic(), bytearray()
        try:
            async with self._client() as http, self._open(http, job_id, media_type) as response:
                if is_stuck and response.status_code == 200:
                    await asyncio.sleep(seconds)
                    return b""
                async for block in response.aiter_raw():
                    content += block
                    await asyncio.sleep(len(block) / rate)
                status, pause = verdict(response, bytes(content))
        except httpx.TransportError as error:
            await self._asker.excuse(error, begun)
            return None
        if status is None:
            await self._asker.excuse(Lost("the stream ended without its end"), begun)
            return None
        if status in AGAIN:
            self._asker.seen.count(f"{status}, asked again")
            await asyncio.sleep(min(pause, self._plan.max_pause))
            return None
        if status != 200:
            raise Lost(f"status {status}: {bytes(content[-TELL:])!r}")
        return bytes(content)

    def _open(
        self, http: httpx.AsyncClient, job_id: str, media_type: str
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """The answer, of which nothing has been read: of the job, or live."""
        headers = {"Accept": media_type}
        if media_type == STREAM:
            request = self._case.request
            return http.stream("POST", request.path, json=request.body, headers=headers)
        return http.stream("GET", f"/jobs/{job_id}/result", headers=headers)

    def _client(self) -> httpx.AsyncClient:
        """A client whose kernel holds little for it."""
        small = httpx.AsyncHTTPTransport(
            socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)]
        )
        http = self._asker.http
        return httpx.AsyncClient(
            base_url=http.base_url, headers=http.headers, timeout=None, transport=small
        )
