"""What a request costs the API process, in processor time: the pool alone, and all of HTTP."""

import itertools
import tempfile
import time
from pathlib import Path

import psutil
import uvloop

from app.pool.connection import Death
from app.pool.engine_process import EngineProcess
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.version import Source
from app.wire.messages import Loaded, Submit
from benchmarks.load import Client, Request
from benchmarks.scale.engine import fail, nothing
from benchmarks.scale.experiments import Row
from benchmarks.scale.service import MODEL_KEY, per_engine
from benchmarks.starting import cpu_seconds
from tests.app.server import Server
from tests.model_info import MODEL

INSTANT = ("tests.fake_engine", "0")
"""An engine whose steps take no time."""


class Silent(EngineProcess):
    """An engine that has the model and tells nobody anything."""

    def get_ready(self) -> None:
        """Have every model that it is to have."""
        for model in list(self.loads.wanted):
            self._welcome(Loaded(model, MODEL, seconds=1.0, memory_bytes=0))

    def die(self) -> None:
        """Lose all models."""
        self._after_death(Death((), was_killed=True))


def pool_of(num_engines: int) -> tuple[EnginePool, list[Silent]]:
    """A pool of engines that do nothing, and these."""
    models = Models([Source("m", "m")], 0, 0, fail)
    pool = EnginePool(models, per_engine(4096, num_engines))
    engines = [Silent(str(i), "nowhere", nothing, 0.0, fail, pool) for i in range(num_engines)]
    for engine in engines:
        pool.add(engine)
    models.start()
    for engine in engines:
        engine.get_ready()
    return pool, engines


def router(num_engines: int, jobs: int, seconds: float = 1.0) -> Row:
    """Microseconds to admit a job, to choose its engine and to let go of it, with so many jobs in
    flight for each engine; the fastest of five parts of `seconds`. Then what the death of an engine
    and its return take."""
    pool, engines = pool_of(num_engines)
    ids = map(str, itertools.count())

    def asked() -> Submit:
        job_id = next(ids)
        client = f"client {int(job_id) % 100}"
        return Submit(job_id, MODEL_KEY, 0, (0, 1), None, "ddim", 20, client=client)

    for _ in range(num_engines * jobs):
        pool.submit(asked())
    fastest = float("inf")
    for _ in range(5):
        began, count = time.process_time(), 0
        while (taken := time.process_time() - began) < seconds / 5 or not count:
            with pool.submit(asked()):
                pass
            count += 1
        fastest = min(fastest, taken / count)
    began = time.process_time()
    engines[0].die()
    engines[0].get_ready()
    death = time.process_time() - began
    return {
        "engines": num_engines,
        "jobs for each": jobs,
        "microseconds": fastest * 1e6,
        "ms of a death": death * 1e3,
    }


def http(answers: int, clients: int = 32) -> Row:
    """Processor seconds of the API process for an image of one step by an engine that takes no
    time, so that nothing but HTTP, the pool and a PNG is left."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder) / "log", "--checkpoint=mnist", engine=INSTANT) as server,
    ):
        process = psutil.Process(server.process.pid)
        request = Request("/sample", {"n": 1, "steps": 1, "sampler": "ddim"}, "image/png")

        async def ask() -> tuple[int, float]:
            async with Client(server.url, timeout=60.0) as client:
                await client.closed_loop(request, "warm-up", clients, answers=answers // 10)
                before = cpu_seconds(process)
                loop = await client.closed_loop(request, "load", clients, answers=answers)
                taken = cpu_seconds(process) - before
            errors = [answer.error for answer in loop.answers if answer.error]
            if errors:
                raise RuntimeError(f"the server did not answer: {errors[0]}")
            return len(loop.answers), taken

        count, taken = uvloop.run(ask())
    return {
        "answers": count,
        "ms of the API process": taken / count * 1e3,
        "answers/s of one core": count / taken,
    }
