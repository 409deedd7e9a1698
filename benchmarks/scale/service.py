"""A server in simulated time: the real pool in front of simulated engines, and clients who try
again when they are told to."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.pool.admission import Bounds, Limits
from app.pool.engine import Engine
from app.pool.errors import NotReady, Refused
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.sharing import Share, share
from app.pool.split import Split
from app.pool.version import Source
from app.wire.messages import Submit
from benchmarks.scale.clock import Clock
from benchmarks.scale.curves import Machine
from benchmarks.scale.engine import START_SECONDS, SimulatedEngine, fail
from benchmarks.scale.requests import Request
from tests.model_info import MODEL

MODEL_KEY = "m#1"
TRIES = 4
"""Times that a client asks before it gives up."""
PROBES = 8
"""Looks for room in the time that Retry-After says; it is looked for three times as long."""


@dataclass(eq=False, slots=True)
class Visit:
    """What became of a request; times in seconds."""

    request: Request
    parts: int = 0  # that are not done
    done: float = math.inf
    refusals: int = 0
    promised: float | None = None  # the first Retry-After of a full queue
    room: float | None = None  # after how long there was room; inf: not in three times as long

    @property
    def seconds(self) -> float:
        """How long its client waited; inf: it got nothing."""
        return self.done - self.request.at


@dataclass
class Service:
    """Engines of a machine's kind behind one pool, all ready."""

    clock: Clock
    machine: Machine
    num_engines: int
    limits: Limits
    share: Share = share  # whether and how requests are split
    visits: list[Visit] = field(default_factory=list)
    on_done: Callable[[Visit], None] = lambda _visit: None

    def __post_init__(self) -> None:
        curve = self.machine.curve
        info = dataclasses.replace(
            MODEL,
            batch_sizes=curve.sizes,
            step_seconds={str(rows): curve.seconds(rows) for rows in curve.sizes},
            seconds_per_row=curve.seconds_per_row,
        )
        models = Models([Source("m", "m")], 0, 0, fail)
        self.pool = EnginePool(models, self.limits, self.share)
        self.engines = [
            SimulatedEngine(
                str(place), self.clock, self.machine, self.pool, info, self._since, self._end_job
            )
            for place in range(self.num_engines)
        ]
        for engine in self.engines:
            self.pool.add(engine)
        self.pool.start()
        self._ids = map(str, itertools.count())
        self._jobs: dict[str, Visit] = {}

    def expect(self, requests: Iterator[Request]) -> None:
        """Have these requests come, each at its time."""
        request = next(requests, None)
        if request is not None:
            self.clock.after(request.at - self.clock.now, partial(self._come, request, requests))

    def _come(self, request: Request, others: Iterator[Request]) -> None:
        self.ask(request)
        self.expect(others)

    def ask(self, request: Request) -> Visit:
        """A request comes now."""
        visit = Visit(request)
        self.visits.append(visit)
        self._try(visit)
        return visit

    def _try(self, visit: Visit) -> None:
        try:
            made = self.pool.submit(self._submit(visit.request))
        except Refused as refused:
            visit.refusals += 1
            seconds = float(refused.retry_after or 1)
            if visit.promised is None and not isinstance(refused, NotReady):
                visit.promised = seconds
                self._look_for_room(visit, 1)
            if visit.refusals < TRIES:
                self.clock.after(seconds, partial(self._try, visit))
            return
        jobs = made.parts if isinstance(made, Split) else [made.submit.id]
        visit.parts = len(jobs)
        self._jobs.update(dict.fromkeys(jobs, visit))

    def _submit(self, request: Request) -> Submit:
        return Submit(
            next(self._ids), MODEL_KEY, 0, tuple(range(request.n)), None, "ddim", request.steps,
            client=request.client,
        )  # fmt: skip

    def _look_for_room(self, visit: Visit, probe: int) -> None:
        """Find out when the request would have been admitted."""
        assert visit.promised is not None
        self.clock.after(visit.promised / PROBES, partial(self._look, visit, probe))

    def _look(self, visit: Visit, probe: int) -> None:
        assert visit.promised is not None
        try:
            self.pool.check_room(self._submit(visit.request))
        except Refused:
            if probe < 3 * PROBES:
                self._look_for_room(visit, probe + 1)
            else:
                visit.room = math.inf
        else:
            visit.room = probe * visit.promised / PROBES

    def _since(self, job_id: str) -> float:
        return self._jobs[job_id].request.at

    def _end_job(self, job_id: str) -> None:
        visit = self._jobs.pop(job_id)
        visit.parts -= 1
        if not visit.parts:
            visit.done = self.clock.now
            self.on_done(visit)

    def finish(self, until: float) -> None:
        """Let time pass until all is done, or until this moment: what is not done is lost."""
        while self.pool.queued_samples and self.clock.now < until:
            self.clock.run(self.clock.now + 1.0)

    def alone(self, request: Request) -> float:
        """Seconds that a request takes on an engine that has nothing else to do."""
        return request.rows / self.machine.curve.rate(request.n)

    @property
    def rows_done(self) -> int:
        """Network rows that all engines have run."""
        return sum(engine.rows_done for engine in self.engines)


def whole(submit: Submit, engines: Sequence[Engine]) -> list[tuple[Engine, Submit]]:
    """Split nothing: a job goes to the engine that should be done with it soonest."""
    one = share(submit.only([0]), engines)
    return [(engine, submit) for engine, _ in one]


def kill(service: Service, life: float, seed: int) -> None:
    """Kill each engine at random from now on, when it has lived for `life` seconds on average."""
    source = random.Random(seed)
    for engine in service.engines:
        _kill_later(service.clock, engine, life, source)


def _kill_later(clock: Clock, engine: SimulatedEngine, life: float, source: random.Random) -> None:
    def die() -> None:
        engine.die()
        clock.after(START_SECONDS, partial(_kill_later, clock, engine, life, source))

    clock.after(source.expovariate(1 / life), die)


def per_engine(samples: int, engines: int) -> Limits:
    """Bounds of a queue of so many samples for each engine, half of them for one client; as many
    steps as these may have."""
    most = samples * engines
    steps = most * 1000
    return Limits(Bounds(most, steps), Bounds(max(1, most // 2), max(1000, steps // 2)))
