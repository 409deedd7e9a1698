"""A pool whose engines have no processes, and what happens to them as a test says it."""

from dataclasses import replace

import pytest

from app.pool.admission import Bounds, Limits
from app.pool.connection import Connection, Death
from app.pool.engine_process import EngineProcess
from app.pool.errors import Refused
from app.pool.inflight import InFlight
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.split import Split
from app.pool.version import Source
from app.wire.flight_recorder import Place
from app.wire.messages import Event, Finished, Loaded, Message, Submit
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

KEY = "m#1"
SLOW = replace(MODEL, name="slow", seconds_per_row=0.1)
OTHER_MACHINE = replace(MODEL, machine="another")
ROOMY = Limits(Bounds(1000, 100_000), Bounds(1000, 100_000))


async def nothing() -> Connection:
    raise AssertionError("no process is to be started")


class FakeProcess(EngineProcess):
    """Never starts a process, and notes what it is told."""

    def __init__(self, name: str, pool: EnginePool) -> None:
        super().__init__(name, "nowhere", nothing, 60, print, pool)
        self.calls: list[str] = []
        self.told: list[Message] = []

    def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def get_ready(self, info: ModelInfo = MODEL) -> None:
        for model in list(self.loads.wanted):
            self._handle(Loaded(model, SLOW if model == "slow#2" else info, 1.0, 1000))

    def say(self, message: Message) -> None:
        self._handle(message)

    def die(self, *places: Place, was_killed: bool = False) -> None:
        self._after_death(Death(places, was_killed))

    def _send(self, message: Message) -> None:
        self.told.append(message)


def starting(limits: Limits = ROOMY, num_engines: int = 1) -> EnginePool:
    """A pool whose engines have not said anything yet."""
    models = Models([Source("m", "m"), Source("slow", "slow")], 0, 0, print)
    pool = EnginePool(models, limits)
    for i in range(num_engines):
        pool.add(FakeProcess(str(i), pool))
    models.start()
    return pool


def ready(limits: Limits = ROOMY, num_engines: int = 1) -> EnginePool:
    """A pool whose engines are all ready."""
    pool = starting(limits, num_engines)
    for engine in engines(pool):
        engine.get_ready()
    return pool


def engines(pool: EnginePool) -> list[FakeProcess]:
    return [engine for engine in pool.engines if isinstance(engine, FakeProcess)]


def asked(
    job_id: str,
    n: int = 1,
    steps: int = 10,
    *,
    client: str = "",
    guidance: float = 0.0,
    model: str = KEY,
) -> Submit:
    labels = None if not guidance else (0,) * n
    return Submit(
        job_id, model, 1, tuple(range(n)), labels, "ddim", steps, guidance=guidance, client=client
    )


def refusal(pool: EnginePool, submit: Submit) -> tuple[type[Refused], str, int | None]:
    with pytest.raises(Refused) as caught:
        pool.submit(submit)
    return type(caught.value), str(caught.value), caught.value.retry_after


async def read(inflight: InFlight | Split) -> list[Event]:
    return [event async for event in inflight]


def parts(pool: EnginePool) -> list[tuple[int, ...]]:
    """The samples that each engine has been given."""
    return [
        tuple(index for job in engine.inflight.values() for index in job.submit.indices)
        for engine in pool.engines
    ]


def finished(engine: FakeProcess, job_id: str, *indices: int) -> None:
    for index in indices:
        engine.say(Finished(job_id, index, b""))
