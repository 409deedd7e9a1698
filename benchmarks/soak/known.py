"""The known answers: what a server that nothing disturbs says."""

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from benchmarks.load import Request
from benchmarks.soak.asking import Asker
from benchmarks.soak.plan import Plan
from benchmarks.soak.requests import (
    BIG_TYPES,
    JOB_TYPES,
    fingerprint,
    make_big_job,
    make_jobs,
    make_pool,
)
from benchmarks.soak.seen import TELL, Lost, Wrong


@dataclass(frozen=True)
class JobCase:
    """A job, and the bytes of its result by media type."""

    request: Request
    expected: Mapping[str, bytes]

    def check(self, media_type: str, content: bytes) -> None:
        """Raise Wrong unless these are the known bytes, without `id` and `timing`."""
        expected = fingerprint(media_type, self.expected[media_type])
        if fingerprint(media_type, content) != expected:
            size = len(self.expected[media_type])
            raise Wrong(f"{media_type} has other bytes: {len(content)}, known are {size}")


@dataclass(frozen=True)
class Known:
    """Requests with the fingerprints of their answers, and jobs with their results."""

    pool: Sequence[Request]
    expected: Sequence[str]
    jobs: Sequence[JobCase]
    big: JobCase

    def check(self, which: int, answer: httpx.Response) -> None:
        """Raise Wrong unless this is the known answer to the request with that place in the pool,
        and Lost for a status other than 200."""
        request = self.pool[which]
        if answer.status_code != 200:
            raise Lost(f"status {answer.status_code}: {answer.content[-TELL:]!r}")
        if fingerprint(request.accept, answer.content) != self.expected[which]:
            raise Wrong("other bytes than those of the undisturbed server")


async def learn(asker: Asker, plan: Plan) -> Known:
    """Ask for everything once, one after another. Raises RuntimeError for an answer other than
    200, and Lost."""
    model = (await asker.ask("GET", "/model")).json()
    pool = make_pool(model, plan.requests, plan.seed)
    print(f"{len(pool)} known answers, {plan.jobs + 1} known results", file=sys.stderr)
    answers = [await answer_of(asker, request) for request in pool]
    expected = [fingerprint(r.accept, a) for r, a in zip(pool, answers, strict=True)]
    jobs = [
        await _learn_job(asker, job, JOB_TYPES[job.path])
        for job in make_jobs(model, plan.jobs, plan.seed)
    ]
    big = await _learn_job(asker, make_big_job(model, plan.big_samples), BIG_TYPES)
    return Known(pool, expected, jobs, big)


async def check_together(asker: Asker, known: Known, at_once: int) -> None:
    """Ask for the whole pool again, so many at a time. Raises Wrong for another answer."""
    turns = asyncio.Semaphore(at_once)

    async def one(which: int, request: Request) -> None:
        async with turns:
            known.check(which, await post(asker, request))

    async with asyncio.TaskGroup() as together:
        for which, request in enumerate(known.pool):
            together.create_task(one(which, request))


async def post(
    asker: Asker, request: Request, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """The answer to a request."""
    wanted = {"Accept": request.accept, **(headers or {})}
    return await asker.ask("POST", request.path, wanted, request.body)


async def answer_of(asker: Asker, request: Request) -> bytes:
    """The content of the answer. Raises RuntimeError for an answer other than 200."""
    answer = await post(asker, request)
    if answer.status_code != 200:
        raise RuntimeError(f"{request}: status {answer.status_code}: {answer.content[-TELL:]!r}")
    return answer.content


async def _learn_job(asker: Asker, job: Request, media_types: Sequence[str]) -> JobCase:
    """The answers to the same request without `Prefer: respond-async`."""
    return JobCase(
        job,
        {
            media_type: await answer_of(asker, dataclasses.replace(job, accept=media_type))
            for media_type in media_types
        },
    )
