"""A receiver of webhooks: kind to some calls, and as bad as receivers are to others."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections import Counter
from typing import Any, Self

from benchmarks.soak.seen import Seen
from tests.app.server import free_port

SECRET = "the soak's own secret for webhooks"
KIND_HOST, BAD_HOST = "127.0.0.1", "127.0.0.2"
"""Two names for this machine: a server may limit the calls of one host."""
KIND = ("kind", "moody")
"""Ways in which a call arrives: at once, or only when it is made again. In the others none does:
`drips`, `hangs`, `fails`, `closes`, `redirects`."""
DRIP_SECONDS, DRIPS = 3.0, 200
HANG_SECONDS = 600.0
READ_SECONDS = 30.0
LINES = {"kind": "204 No Content", "fails": "500 Internal Server Error", "redirects": "302 Found"}


class Receiver:
    """`async with Receiver(seen) as receiver:` listens; `url` tells how a call will be met."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._port = free_port()
        self._arrived: dict[str, asyncio.Event] = {}  # by the job's token
        self._jobs: dict[str, str] = {}
        self._calls: Counter[str] = Counter()  # of moody ones
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        hosts = [KIND_HOST, BAD_HOST]
        self._server = await asyncio.start_server(self._serve, hosts, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def url(self, way: str, token: str) -> str:
        """Where a job's webhook is met in that way."""
        if way in KIND:
            self._arrived[token] = asyncio.Event()
        host = KIND_HOST if way in KIND else BAD_HOST
        return f"http://{host}:{self._port}/{way}/{token}"

    async def arrival(self, token: str, job_id: str) -> None:
        """Until the job's webhook has come."""
        self._jobs[token] = job_id
        await self._arrived[token].wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._meet(reader, writer)
        except asyncio.CancelledError:
            pass  # the soak is over; asyncio would tell of it
        finally:
            self._open.discard(task)
            writer.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a call, and do with it what its path says."""
        async with asyncio.timeout(READ_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (x.split(": ", 1) for x in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
        _, way, token = first.split(" ")[1].split("/")
        self.seen.count(f"webhook calls: {way}")
        if way == "moody":
            self._calls[token] += 1
            way = "fails" if self._calls[token] == 1 else "kind"
        match way:
            case "hangs":
                await asyncio.sleep(HANG_SECONDS)
            case "drips":
                await _drip(writer)
            case "kind" | "fails" | "redirects":
                if way == "kind":
                    self._note(token, headers, body)
                writer.write(_answer(LINES[way]))
                await writer.drain()

    def _note(self, token: str, headers: dict[str, str], body: bytes) -> None:
        """A call that is met kindly: is it ours, and of the job that has ended?"""
        told: dict[str, Any] = json.loads(body)
        signed = headers["x-webhook-timestamp"].encode() + b"." + body
        signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers["x-webhook-signature"], f"sha256={signature}"):
            self.seen.problem("wrong", f"webhook of job {told['id']}: its signature")
        if told["status"] != "finished" or self._jobs.get(token, told["id"]) != told["id"]:
            self.seen.problem("wrong", f"webhook of job {self._jobs.get(token)}: {told}")
        if self._arrived[token].is_set():
            self.seen.count("webhooks that came again")
        self._arrived[token].set()


def _answer(line: str) -> bytes:
    location = "Location: http://127.0.0.1/\r\n" if line.startswith("302") else ""
    return f"HTTP/1.1 {line}\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


async def _drip(writer: asyncio.StreamWriter) -> None:
    """A byte of a header now and then: each is in time."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(DRIPS):
        await writer.drain()
        await asyncio.sleep(DRIP_SECONDS)
        writer.write(b"z")
