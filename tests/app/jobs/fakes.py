"""An engine pool without engines, and plans for it: what jobs need, in process and at once."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np

from app.generation.collect import Needs, Result, image
from app.generation.collect import shown as collected
from app.generation.formats import SAMPLE, TRAJECTORY
from app.generation.plan import Plan
from app.jobs.plans import write_plan
from app.jobs.tables import Job, Kind
from app.pool.admission import Bounds
from app.pool.errors import Refused
from app.pool.makers import maker
from app.pool.pool import EnginePool
from app.pool.version import Source
from app.settings import Settings
from app.wire.messages import Done, Event, Failed, Finished, Frame, Submit
from tests.model_info import MODEL as A_MODEL
from tests.served import models_of

MODEL = dataclasses.replace(A_MODEL, name="fake", sha256="0" * 64)
KEY = "fake#1"
SHAPE = (1, 4, 4)
STEPS = 4
TIMING = {"queued_s": 0.0, "compute_s": 0.0}


class FakePool:
    """Stands for the pool of engines. Its samples depend on seed, index and position alone."""

    def __init__(self) -> None:
        self.models, self.engine = models_of(Source("fake", "fake"), infos=[MODEL])
        self.ready_engines = ["an engine"]
        self.asked: list[int] = []  # the indices of all samples so far
        self.chunks: list[int] = []  # how many of them in each submit
        self.refusal: Refused | None = None  # raised instead of making samples
        self.failure: str | None = None  # reported instead of making samples
        self.is_stuck = False  # no event ever comes
        self.made_with: list[str] = []  # the model's key in each submit
        self.made_by: list[str | None] = []  # who had to make each
        self.bounds: list[Bounds | None] = []  # of the client of each

    async def is_asked(self) -> bool:
        """Has a turn come as far as the engine?"""
        return bool(self.asked)

    def lose_model(self) -> None:
        """Be as before the model has been loaded."""
        self.models, self.engine = models_of(Source("fake", "fake"), infos=[MODEL], is_slow=True)
        self.ready_engines = []

    def find_model(self) -> None:
        """Have it loaded now."""
        self.engine.finish(KEY)
        self.ready_engines = ["an engine"]

    @contextmanager
    def submit(
        self,
        submit: Submit,
        seconds: float | None = None,  # noqa: ARG002 - the pool's signature
        client: Bounds | None = None,
    ) -> Iterator[AsyncGenerator[Event, None]]:
        self.asked += submit.indices
        self.chunks.append(len(submit.indices))
        self.made_with.append(submit.model)
        self.made_by.append(submit.made_by)
        self.bounds.append(client)
        if self.refusal is not None:
            raise self.refusal
        yield self._events(submit)

    async def _events(self, submit: Submit) -> AsyncGenerator[Event, None]:
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.failure is not None:
            yield Failed(submit.id, self.failure)
            return
        for event in events(submit):
            await asyncio.sleep(0)
            yield event

    def as_pool(self) -> EnginePool:
        """Itself, to the type checker a real pool."""
        return cast(EnginePool, self)


def events(submit: Submit) -> Iterator[Event]:
    """What an engine sends for a job."""
    for index in submit.indices:
        for position in submit.shown:
            if position < submit.steps:
                x_t = state(submit.seed, index, position)
                x_0_hat = state(submit.seed, index, -1 - position)
                yield Frame(submit.id, index, position, x_t, x_0_hat)
        yield Finished(submit.id, index, state(submit.seed, index, submit.steps))
    yield Done(submit.id, 0.0, 0.0)


def state(seed: int, index: int, position: int) -> bytes:
    """float32 (C,H,W), as the engine sends it."""
    rng = np.random.default_rng([seed, index, position % 1000])
    return rng.uniform(-1, 1, SHAPE).astype("<f4").tobytes()


def make_plan(n: int = 5, shown: tuple[int, ...] = (), job_id: str = "1" * 32) -> Plan:
    """A plan for `n` samples, with frames at the positions `shown`."""
    submit = Submit(
        job_id, KEY, 7, tuple(range(3, 3 + n)), None, "ddim", STEPS, shown=shown, client="me"
    )  # fmt: skip
    times = tuple(STEPS - position for position in shown)
    return Plan(submit, "fake", MODEL.sha256, SHAPE, (None,) * n, times)


def make_job(plan: Plan, webhook_url: str | None = None) -> Job:
    """The row of a new job."""
    kind: Kind = "denoise-trajectory" if plan.submit.shown else "sample"
    return Job(
        id=plan.submit.id,
        client="me",
        kind=kind,
        header="{}",
        plan=write_plan(plan),
        made_by=maker(MODEL),
        status="waiting",
        total=len(plan.submit.indices),
        stored_bytes=1000,
        created_at=0.0,
        expires_at=3600.0,
        webhook_url=webhook_url,
        webhook_host=webhook_url and httpx.URL(webhook_url).host,
    )


def whole(plan: Plan, needs: Needs) -> Result:
    """The result of a plan that no crash and no job came between."""
    result, first = Result(plan, needs), plan.submit.indices[0]
    result.timing = TIMING
    for event in events(plan.submit):
        if isinstance(event, Finished):
            result.put_image(event.index - first, image(plan, event.x_0))
        if isinstance(event, Frame | Finished) and (frame := collected(plan, event)) is not None:
            place = plan.shown_times.index(frame.t)
            result.put_frame(frame.index - first, place, frame.x_t, frame.x_0_hat)
    return result


def answer(plan: Plan, media_type: str) -> bytes:
    """The synchronous answer to a plan."""
    chosen = (TRAJECTORY if plan.submit.shown else SAMPLE)[media_type]
    return b"".join(chosen.encode(whole(plan, chosen.needs)).blocks)


def limits_of(client: str) -> Settings:  # noqa: ARG001 - the server's signature
    """The limits of every client: the defaults."""
    return Settings()


def make_settings(folder: Path, **changes: Any) -> Settings:
    """The settings of a server whose jobs are in `folder`."""
    return Settings(jobs_folder=folder, **changes)
