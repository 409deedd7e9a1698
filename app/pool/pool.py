"""All engines of the server: who is admitted, and which engine gets the work."""

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from app.pool.admission import Admission, Bounds, Limits
from app.pool.engine import Engine
from app.pool.errors import OTHER_MACHINE, NotReady
from app.pool.fleet import Fleet
from app.pool.inflight import InFlight, Outcome
from app.pool.models import Models
from app.pool.pace import backlog_seconds, seconds_together
from app.pool.relocation import Refuge, Relocation
from app.pool.sharing import Share, candidates, share
from app.pool.split import Split
from app.pool.tally import Queue, Tally
from app.pool.version import name_of
from app.wire.messages import Loaded, Submit, Unusable

LOADS = 2.0
"""Times that a load could be done in the time for which a model's engines are busy, before another
engine loads it."""
Whole = InFlight | Split
"""A job in the pool: as one, or as parts that several engines make."""


class EnginePool:
    """Admits jobs, and hands each to the engines that should be done with it soonest, of those that
    have its model. Engines may come and go; what one of them leaves undone, another does."""

    def __init__(self, models: Models, limits: Limits, share: Share = share) -> None:
        """There is no engine yet; all that come are to have these `models`. `share` says which
        engines make a job."""
        self.models = models
        self._share = share
        self.is_draining = False
        self._fleet = Fleet()
        self._is_running = False
        self._is_hurried = asyncio.Event()
        self._queue = Queue()
        self._admission = Admission(limits, self._queue, self._seconds)
        self._outcomes: Counter[tuple[str, str]] = Counter()  # samples, by model and outcome
        self._relocation = Relocation(models, self._fleet)
        models.engines = self.engines

    @property
    def engines(self) -> list[Engine]:
        """The engines that are given work."""
        return self._fleet.engines

    def add(self, engine: Engine) -> None:
        """Give work to an engine, too, from the moment that it has models. It is started with the
        others, or now if they have been."""
        self._fleet.add(engine)
        self.models.join(engine)
        self._relocation.empty(self._relocation.nowhere)
        if self._is_running:
            engine.start()

    async def remove(self, engine: Engine) -> None:
        """Give its work to others, and end it."""
        self._fleet.remove(engine)
        self._relocation.empty(engine)
        self.models.leave()
        await engine.stop()

    def retire(self, engine: Engine) -> None:
        """Give an engine no more work; what it has, it does."""
        self._fleet.retire(engine)
        self.models.leave()

    def on_loaded(self, loaded: Loaded) -> None:
        """An engine has a model: it takes over what waits for that, and its share of the rest."""
        self.models.on_loaded(loaded)
        self._relocation.rescue()
        self._relocation.level(loaded.model)

    def on_unusable(self, unusable: Unusable, *, is_deadly: bool = False) -> None:
        """An engine could not load a model."""
        self.models.on_unusable(unusable, is_deadly=is_deadly)
        self._relocation.rescue()

    def on_death(self) -> None:
        """An engine process has died: others do what is left of its jobs."""
        self.models.on_death()
        self._relocation.rescue()

    def start(self) -> None:
        """Start every engine, which loads the models; returns at once."""
        self._is_running = True
        self.models.start()
        for engine in self.engines:
            engine.start()

    async def stop(self) -> None:
        """End every engine."""
        self._is_running = False
        self.models.stop()
        await asyncio.gather(*(engine.stop() for engine in self._fleet.all))

    async def drain(self, seconds: float) -> None:
        """Take no new job from now on; whoever still waits after `seconds` is told so."""
        self.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_hurried.wait()
        holders: list[Refuge] = [*self._fleet.all, self._relocation.nowhere]
        for holder in holders:
            for inflight in holder.inflight.values():
                inflight.refuse(NotReady("the server is shutting down; ask again"))

    def hurry(self) -> None:
        """Wait no longer for what is drained."""
        self._is_hurried.set()

    @property
    def ready_engines(self) -> list[Engine]:
        """The engines that can take steps now."""
        return [engine for engine in self.engines if engine.is_ready]

    @property
    def outcomes(self) -> dict[tuple[str, str], int]:
        """Samples that left the engines, by model and outcome; of every model and outcome, also
        where there are none yet."""
        none = itertools.product(self.models.names, get_args(Outcome))
        return {**dict.fromkeys(none, 0), **self._outcomes}

    @property
    def queued_samples(self) -> int:
        """Unfinished samples in all engines."""
        return self._queue.everybody.samples

    def submit(
        self, submit: Submit, seconds: float | None = None, client: Bounds | None = None
    ) -> Whole:
        """Admit a job and give it to an engine, or parts of it to several. Its events must be read
        within `seconds` in all.
        `client` are bounds of its client's own; None: those of every client.

        Raises NotReady where no engine has its model and may make it, ClientOverLimit or Overloaded
        without room.
        """
        self.check_room(submit, client)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        count = functools.partial(self._count, name_of(submit.model))
        if not self._fleet.have_all(submit.model):
            self._relieve(submit.model)
        shares = self._share(submit, candidates(submit, self._fleet))
        spread = self._spread(submit.client, [engine for engine, _ in shares])
        parts = [
            InFlight(replace(part, spread=spread), deadline, None, count, len(shares))
            for _, part in shares
        ]
        whole: Whole = parts[0] if len(parts) == 1 else Split(submit.id, parts)
        for (engine, _), part in zip(shares, parts, strict=True):
            part.count_in(self._queue.everybody)
            part.call(self._queue.share(submit.client))
            engine.submit(part)
        return whole

    def join(self, whole: Whole, submit: Submit, bounds: Bounds | None = None) -> None:
        """Have another request of the same job, `submit`, wait for one that is here. It counts as
        its client's as if it were run for that one alone, but the queue holds it once.

        Raises NotReady, or ClientOverLimit, as `submit` does.
        """
        self.check_join(submit, bounds)
        for part in whole.pieces:
            part.call(self._queue.share(submit.client))
        self._settle_payer(whole)

    def check_join(self, submit: Submit, bounds: Bounds | None = None) -> None:
        """Raise what `join` would raise now. It reserves nothing."""
        self._check_open()
        self._admission.check_share(submit, bounds)

    def leave(self, whole: Whole, client: str) -> None:
        """Note that one of several requests that wait for a job, of this client, waits no more."""
        for part in whole.pieces:
            part.hang_up(client)
        self._settle_payer(whole)

    def check_room(self, submit: Submit, client: Bounds | None = None) -> None:
        """Raise what `submit` would raise for this job now. It reserves nothing, but a model that
        is not loaded is loaded from now on."""
        self._check_open()
        self._check_loaded(submit)
        self._admission.check_share(submit, client)
        self._admission.check_queue(submit)

    def _check_open(self) -> None:
        if self.is_draining:
            raise NotReady("the server is shutting down")

    def _settle_payer(self, whole: Whole) -> None:
        """Have that client pay for a job which has the least in the queue, of those that wait for
        it: nobody waits longer than if it were run for that one alone."""
        first = whole.pieces[0]
        clients = [caller.client for caller in first.callers]
        left = {client: self._seconds(self._queue.of(client)) for client in clients}
        payer, best = first.submit.client, min(left, key=left.__getitem__)
        if payer not in left or left[best] < left[payer]:
            for part in whole.pieces:
                part.charge(best)

    def _check_loaded(self, submit: Submit) -> None:
        """Raise NotReady unless an engine has a job's model, is to go on with it, and may make the
        job."""
        model = submit.model
        version = self.models.version(model)
        if version is None:
            raise NotReady(f"the model {name_of(model)} has been replaced; ask again", 1)
        if self.models.state(version) != "ready" or version.is_leaving:
            raise self.models.refusal(version)
        if self._fleet.least_busy(model, submit.made_by) is None:
            raise NotReady(OTHER_MACHINE, 1)

    def _relieve(self, model: str) -> None:
        """Have another engine load a model, if those that have it are busy for longer than that
        takes, and that one is not."""
        version, least = self.models.version(model), self._fleet.least_busy(model)
        seconds = 0.0 if least is None else backlog_seconds(least)
        if version is None or seconds < LOADS * (version.load_seconds or 0.0):
            return
        idle = [
            engine
            for engine in self.engines
            if engine.is_ready
            and not engine.serves(model)
            and 2 * backlog_seconds(engine) < seconds
        ]
        self.models.spread(version, idle)

    def _spread(self, client: str, new: Sequence[Engine]) -> int:
        """Engines that have jobs of a client, with those that get one now."""
        if client not in self._queue.everybody.clients:  # as most, with many engines
            return len(new)
        others = sum(client not in engine.tally.clients for engine in new)
        return self._fleet.num_with(client) + others

    def _seconds(self, tally: Tally) -> float:
        """Seconds in which all ready engines should do it."""
        return seconds_together(tally.rows, self.ready_engines)

    def _count(self, model: str, outcome: Outcome, samples: int) -> None:
        self._outcomes[model, outcome] += samples
