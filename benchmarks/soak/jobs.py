"""Clients of jobs: they submit, watch, fetch in some way, check, and delete."""

import asyncio
import random
import time
from collections.abc import Sequence
from uuid import uuid4

import httpx

from benchmarks.soak.asking import AGAIN, Asker
from benchmarks.soak.known import JobCase, Known
from benchmarks.soak.requests import IN_RANGES, parse_events
from benchmarks.soak.seen import TELL, Lost, Seen, Wrong
from benchmarks.soak.webhooks import KIND, Receiver

JOB_SECONDS = 600.0
"""A job that takes longer, or its webhook, is lost."""
LOOK_SECONDS = 1.0
CANCELLED = 0.1
"""The part of the jobs that are deleted before they have ended."""


class Jobs:
    """What one client does with jobs."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def submit(self, case: JobCase, webhook: str | None = None) -> str:
        """The id of the new job. Sent again after a cut with the same Idempotency-Key, it is the
        same job. Raises Lost."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": uuid4().hex}
        if webhook is not None:
            headers["X-Webhook-URL"] = webhook
        request = case.request
        answer = await self._asker.ask("POST", request.path, headers, request.body)
        expect(answer, 202)
        self._asker.seen.count("jobs accepted")
        job_id: str = answer.json()["id"]
        return job_id

    async def finished(self, job_id: str, *, by_events: bool) -> None:
        """Until the job is finished. Raises Lost when it fails or is gone."""
        while True:
            if by_events:
                status = await self._last_event(job_id)
            else:
                answer = await self._asker.ask("GET", f"/jobs/{job_id}")
                expect(answer, 200)
                status = answer.json()
            if status.get("status") == "finished":
                return
            if status.get("status") not in ("waiting", "running", *AGAIN):
                raise Lost(f"job {job_id} ended otherwise: {status}")
            await asyncio.sleep(LOOK_SECONDS)

    async def fetch(self, job_id: str, media_type: str) -> bytes:
        """The whole result. Raises Lost."""
        answer = await self._asker.ask("GET", f"/jobs/{job_id}/result", {"Accept": media_type})
        expect(answer, 200)
        return answer.content

    async def fetch_in_ranges(self, job_id: str, media_type: str, parts: int) -> bytes:
        """The whole result, in so many requests or one more. Raises Lost, and Wrong for a range
        other than the one asked for."""
        content, size, etag = b"", 1, ""
        while len(content) < size:
            stop = len(content) + -(-size // parts) - 1 if etag else 99
            wanted = {"Accept": media_type, "Range": f"bytes={len(content)}-{stop}"}
            wanted |= {"If-Range": etag} if etag else {}
            answer = await self._asker.ask("GET", f"/jobs/{job_id}/result", wanted)
            expect(answer, 206)
            told = answer.headers["content-range"]
            size, etag = int(told.rpartition("/")[2]), answer.headers["etag"]
            end = len(content) + len(answer.content) - 1
            if told != f"bytes {len(content)}-{end}/{size}":
                raise Wrong(f"{wanted} was answered with {told}, {len(answer.content)} bytes")
            content += answer.content
        return content

    async def delete(self, job_id: str) -> None:
        """Delete it; it is unknown then. Raises Lost."""
        # A first one may have been answered by a server that was killed then.
        expect(await self._asker.ask("DELETE", f"/jobs/{job_id}"), 204, 404)
        expect(await self._asker.ask("GET", f"/jobs/{job_id}"), 404)

    async def _last_event(self, job_id: str) -> dict[str, object]:
        """What the job's events end with; an empty stream, or one that is cut, tells nothing."""
        begun = time.monotonic()
        try:
            answer = await self._asker.http.get(f"/jobs/{job_id}/events")
        except httpx.TransportError as error:
            await self._asker.excuse(error, begun)
            return {"status": "waiting"}
        if answer.status_code != 200 or not (events := parse_events(answer.content)):
            return (await self._asker.ask("GET", f"/jobs/{job_id}")).json()  # type: ignore[no-any-return]
        return events[-1][1]


class JobClient:
    """Makes one job after another. `stranger` has another key; `webhooks` are drawn from."""

    def __init__(
        self,
        asker: Asker,
        stranger: Asker,
        known: Known,
        receiver: Receiver,
        webhooks: Sequence[str],
    ) -> None:
        self._jobs = Jobs(asker)
        self._stranger = stranger
        self._known = known
        self._receiver = receiver
        self._webhooks = webhooks

    async def run(self, source: random.Random, over: float) -> None:
        """Until then (time.monotonic)."""
        while time.monotonic() < over:
            case = source.choice(self._known.jobs)
            async with self._seen.watching(f"job of {case.request}", JOB_SECONDS):
                await self._one(source, case)

    @property
    def _seen(self) -> Seen:
        return self._stranger.seen

    async def _one(self, source: random.Random, case: JobCase) -> None:
        """One job, from its beginning to its end."""
        token, way = uuid4().hex, source.choice(self._webhooks)
        webhook = None if way == "none" else self._receiver.url(way, token)
        job_id = await self._jobs.submit(case, webhook)
        if source.random() < CANCELLED:
            await asyncio.sleep(source.uniform(0, 2))
            await self._jobs.delete(job_id)
            self._seen.count("jobs cancelled")
            return
        await self._jobs.finished(job_id, by_events=source.random() < 0.5)
        self._seen.count("jobs finished")
        await self._fetch(source, case, job_id)
        expect(await self._stranger.ask("GET", f"/jobs/{job_id}"), 404)
        if way in KIND:
            await self._receiver.arrival(token, job_id)
            self._seen.count("webhooks arrived")
        await self._jobs.delete(job_id)

    async def _fetch(self, source: random.Random, case: JobCase, job_id: str) -> None:
        """The result in two representations, where it may be in ranges."""
        for media_type in source.sample(sorted(case.expected), 2):
            if media_type in IN_RANGES and source.random() < 0.7:
                parts = source.randint(1, 5)
                content = await self._jobs.fetch_in_ranges(job_id, media_type, parts)
            else:
                content = await self._jobs.fetch(job_id, media_type)
            case.check(media_type, content)
            self._seen.count("results with the known bytes")


def expect(answer: httpx.Response, *statuses: int) -> None:
    """Raise Lost for an answer with another status."""
    if answer.status_code not in statuses:
        request = f"{answer.request.method} {answer.request.url.path}"
        raise Lost(f"{request}: status {answer.status_code}: {answer.content[:TELL]!r}")
