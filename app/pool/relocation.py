"""Jobs move from one engine to another where theirs cannot do them, or would do them later."""

from collections.abc import Mapping
from typing import Protocol

from app.pool.engine import Engine
from app.pool.engine_jobs import EngineJobs
from app.pool.errors import OTHER_MACHINE, NotReady
from app.pool.fleet import Fleet
from app.pool.inflight import InFlight
from app.pool.makers import can_go_on
from app.pool.models import Models
from app.pool.pace import backlog_seconds


class Refuge(Protocol):
    """Where jobs can be."""

    @property
    def inflight(self) -> Mapping[str, InFlight]:
        """The jobs that are there, by id."""

    def adopt(self, inflight: InFlight) -> None:
        """Take what is left of another's job."""

    def give_up(self, inflight: InFlight) -> None:
        """Let another take a job."""


class Relocation:
    """Moves the jobs of a fleet between its engines."""

    def __init__(self, models: Models, fleet: Fleet) -> None:
        self.nowhere = EngineJobs(frozenset(), lambda _: None, lambda: None)
        """The jobs for which there is no engine at all."""
        self._models = models
        self._fleet = fleet

    def empty(self, holder: Refuge) -> None:
        """Give all jobs to others."""
        for inflight in list(holder.inflight.values()):
            _move(inflight, holder, self._refuge(inflight))

    def rescue(self) -> None:
        """Give to others what waits at an engine that has no process, or not the model."""
        for engine in self._fleet.all:
            if all(map(engine.serves, engine.tally.rows)):
                continue
            for inflight in list(engine.inflight.values()):
                submit = inflight.submit
                if engine.serves(submit.model):
                    continue
                made_by = submit.made_by if _loads(engine, submit.model) else None
                other = self._fleet.least_busy(submit.model, made_by)
                if engine in self._fleet.retired or other is not None:
                    _move(inflight, engine, self._refuge(inflight))

    def level(self, model: str) -> None:
        """Give the least busy engine jobs of the busiest, the last that came first, as long as that
        is done sooner then: an engine that has just come would wait for new ones."""
        while True:
            least, most = self._fleet.least_busy(model), self._fleet.most_busy(model)
            if least is None or most is None or least is most:
                return
            seconds = backlog_seconds(most) - backlog_seconds(least)
            jobs = (job for job in most.inflight.values() if job.submit.model == model)
            info = least.loads.known[model]
            jobs = (job for job in jobs if can_go_on(job.submit.made_by, info))
            fitting = [
                job for job in jobs if 0 < 2 * _rows_left(job) * info.seconds_per_row <= seconds
            ]
            if not fitting:
                return
            _move(fitting[-1], most, least)

    def _refuge(self, inflight: InFlight) -> Refuge:
        """Where a job goes on whose engine cannot do it: to where it should be done soonest, or to
        where it waits for its model, which is loaded. It ends where only others have that."""
        submit = inflight.submit
        best = self._fleet.least_busy(submit.model, submit.made_by)
        if best is not None:
            return best
        others_have = self._fleet.least_busy(submit.model) is not None
        version = self._models.version(submit.model)
        if version is not None:
            self._models.want(version)
        loading = [engine for engine in self._fleet.engines if _loads(engine, submit.model)]
        if others_have and not loading:
            inflight.refuse(NotReady(OTHER_MACHINE, 1))
            return self.nowhere
        waiting: list[Refuge] = [*loading, *self._fleet.engines, self.nowhere]
        return waiting[0]


def _loads(engine: Engine, model: str) -> bool:
    """Is it to have the model, and has it not yet?"""
    return model in engine.loads.wanted and not engine.serves(model)


def _rows_left(inflight: InFlight) -> int:
    """Network rows that are left of a job, at most."""
    return len(inflight.missing) * inflight.submit.chain_rows


def _move(inflight: InFlight, holder: Refuge, refuge: Refuge) -> None:
    """Have another one do what is left of a job."""
    holder.give_up(inflight)
    refuge.adopt(inflight)
