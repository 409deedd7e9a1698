"""Who is admitted, and which engine gets the work: engines that are not started take the jobs."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

import pytest

from app.pool import pool as module
from app.pool.engine_process import EngineProcess
from app.pool.errors import ClientOverLimit, NotReady, Overloaded, Refused, TooLate
from app.pool.inflight import InFlight
from app.pool.models import Models
from app.pool.pool import Bounds, EnginePool, Limits
from app.pool.version import Source
from app.wire.messages import Done, Event, Failed, Finished, Loaded, Submit
from app.wire.options import Options
from tests.model_info import MODEL

OPTIONS = Options("cpu", "auto", threads=1)
KEY = "m#1"
SLOW = dataclasses.replace(MODEL, name="slow", seconds_per_row=0.1)
ROOMY = Limits(Bounds(1000, 100_000), Bounds(1000, 100_000))


class FakeProcess(EngineProcess):
    """Never starts a process, and notes what it is told."""

    def __init__(
        self,
        options: Options,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        listener: Models,
        command: Sequence[str],
    ) -> None:
        super().__init__(options, hang_seconds, on_unusable, listener, command)
        self._on_unusable = on_unusable
        self.given = (hang_seconds, command)
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def get_ready(self) -> None:
        for model in list(self.loads.wanted):
            self._handle(Loaded(model, SLOW if model == "slow#2" else MODEL, 1.0, 1000))

    def give_up(self, reason: str) -> None:
        self._on_unusable(reason)


@pytest.fixture(autouse=True)
def _fake_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EngineProcess", FakeProcess)


def starting(
    limits: Limits = ROOMY, num_engines: int = 1, on_unusable: Callable[[str], None] = print
) -> EnginePool:
    """A pool whose engines have not said anything yet."""
    options = [dataclasses.replace(OPTIONS, device=f"cuda:{i}") for i in range(num_engines)]
    models = Models([Source("m", "m"), Source("slow", "slow")], 0, 0, on_unusable)
    pool = EnginePool(options, models, limits, 7.0, on_unusable, ("engine",))
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


def bounds(server: tuple[int, int], client: tuple[int, int]) -> Limits:
    return Limits(Bounds(*server), Bounds(*client))


def refusal(pool: EnginePool, submit: Submit) -> tuple[type[Refused], str, int | None]:
    with pytest.raises(Refused) as caught:
        pool.submit(submit)
    return type(caught.value), str(caught.value), caught.value.retry_after


def test_there_is_one_engine_for_each_device_and_all_are_started_the_same_way() -> None:
    pool = starting(num_engines=3)
    assert [engine.options.device for engine in pool.engines] == ["cuda:0", "cuda:1", "cuda:2"]
    assert all(engine.given == (7.0, ("engine",)) for engine in engines(pool))
    assert not any(engine.calls for engine in engines(pool)), "nothing starts by itself"
    pool.start()
    asyncio.run(pool.stop())
    assert all(engine.calls == ["start", "stop"] for engine in engines(pool))


def test_before_an_engine_has_the_model_nothing_is_admitted() -> None:
    pool = starting(num_engines=2)
    assert refusal(pool, asked("a")) == (NotReady, "the model m is being loaded", 20)
    second = engines(pool)[1]
    second.get_ready()
    assert pool.ready_engines == [second]
    pool.submit(asked("a"))
    assert list(second.inflight) == ["a"]


def test_after_a_death_nothing_is_admitted_until_the_model_is_loaded_again() -> None:
    pool = ready()
    pool.engines[0].loads.die(())
    pool.models.on_death()
    assert refusal(pool, asked("a")) == (NotReady, "the model m is being loaded", 1)


def test_a_version_that_is_forgotten_is_asked_for_again() -> None:
    pool = ready()
    assert refusal(pool, asked("a", model="m#7")) == (
        NotReady, "the model m has been replaced; ask again", 1
    )  # fmt: skip


def test_rows_count_by_the_seconds_that_they_take_of_their_model() -> None:
    pool = ready(bounds(server=(4, 10_000), client=(4, 10_000)), num_engines=2)
    first, second = pool.engines
    pool.submit(asked("a", n=1, steps=20, model="slow#2"))  # 2 s
    pool.submit(asked("b", n=1, steps=100))  # 0.25 s
    pool.submit(asked("c", n=1, steps=100))
    assert (list(first.inflight), list(second.inflight)) == (["a"], ["b", "c"])
    assert refusal(pool, asked("d", n=2))[2] == 2  # 2.5 s on two engines


def test_the_engine_with_the_fewest_network_rows_to_do_gets_the_job() -> None:
    pool = ready(num_engines=2)
    first, second = pool.engines
    pool.submit(asked("a", n=1, steps=30))
    pool.submit(asked("b", n=2, steps=10))
    pool.submit(asked("c", n=1, steps=10, guidance=1.0))  # 20 rows, beside 20 of the other's 30
    pool.submit(asked("d"))
    assert list(first.inflight) == ["a", "d"]
    assert list(second.inflight) == ["b", "c"]


def test_what_an_engine_has_finished_no_longer_counts() -> None:
    pool = ready(num_engines=2)
    first, second = pool.engines
    done = pool.submit(asked("a", n=3))
    pool.submit(asked("b", n=2))
    for index in (0, 1):
        done.accept(Finished("a", index, b""))
    assert (first.backlog, second.backlog, pool.queued_samples) == (10, 20, 3)
    pool.submit(asked("c"))
    assert list(first.inflight) == ["a", "c"]


def test_samples_beyond_the_servers_bound_are_refused_with_the_time_for_the_queue() -> None:
    pool = ready(bounds(server=(10, 10_000), client=(10, 10_000)))
    pool.submit(asked("a", n=8, steps=100, client="x"))
    assert refusal(pool, asked("b", n=3, client="y")) == (
        Overloaded,
        "the queue has room for 2 of the 3 samples asked for (it holds 10)",
        2,  # 800 rows of 2.5 ms
    )
    pool.submit(asked("c", n=2, client="y"))
    assert pool.queued_samples == 10


def test_steps_beyond_the_servers_bound_are_refused() -> None:
    pool = ready(bounds(server=(100, 1000), client=(100, 1000)))
    pool.submit(asked("a", n=4, steps=200, client="x"))
    assert refusal(pool, asked("b", n=1, steps=201, client="y")) == (
        Overloaded,
        "the queue has room for 200 of the 201 steps asked for (it holds 1000)",
        2,
    )


def test_more_engines_are_done_sooner() -> None:
    pool = ready(bounds(server=(8, 10_000), client=(8, 10_000)), num_engines=2)
    pool.submit(asked("a", n=8, steps=200))
    assert refusal(pool, asked("b"))[2] == 2  # 1600 rows of 2.5 ms on two engines
    pool.engines[1].status = "restarting"
    assert refusal(pool, asked("b"))[2] == 4


def test_a_client_may_try_again_after_a_second_at_the_earliest() -> None:
    pool = ready(bounds(server=(1, 100), client=(1, 100)))
    pool.submit(asked("a"))
    assert refusal(pool, asked("b"))[2] == 1


def test_a_clients_own_bound_is_told_with_the_time_for_its_own_part() -> None:
    pool = ready(bounds(server=(100, 100_000), client=(5, 100_000)))
    pool.submit(asked("a", n=4, steps=100, client="x"))
    pool.submit(asked("b", n=5, steps=1000, client="y"))
    assert refusal(pool, asked("c", n=2, client="x")) == (
        ClientOverLimit,
        "your part of the queue has room for 1 of the 2 samples asked for (it holds 5)",
        2,  # its 400 rows take twice as long beside the other client's
    )
    assert refusal(pool, asked("c", client="y"))[2] == 14  # all 5400 rows, less than twice its own
    pool.submit(asked("c", n=2, client="z"))


def test_a_clients_steps_are_bounded_too() -> None:
    pool = ready(bounds(server=(100, 10_000), client=(100, 50)))
    pool.submit(asked("a", n=4, client="x"))
    assert refusal(pool, asked("b", n=2, client="x"))[:2] == (
        ClientOverLimit,
        "your part of the queue has room for 10 of the 20 steps asked for (it holds 50)",
    )


def test_a_job_that_is_left_makes_room_and_its_samples_are_counted_by_outcome() -> None:
    pool = ready(bounds(server=(3, 100), client=(3, 100)))
    with pool.submit(asked("a", n=3)) as inflight:
        inflight.accept(Finished("a", 1, b""))
    assert pool.queued_samples == 0
    counted = {counted: samples for counted, samples in pool.outcomes.items() if samples}
    assert counted == {("m", "finished"): 1, ("m", "cancelled"): 2}
    assert pool.outcomes["slow", "failed"] == 0
    with pool.submit(asked("b", n=3)) as inflight:
        inflight.accept(Failed("b", "why"))
        assert asyncio.run(read(inflight)) == [Failed("b", "why")]
    assert pool.outcomes["m", "failed"] == 3


async def read(inflight: InFlight) -> list[Event]:
    return [event async for event in inflight]


def test_events_must_be_read_in_the_time_that_was_given() -> None:
    async def run() -> None:
        pool = ready()
        with pool.submit(asked("a"), seconds=0.0) as late, pool.submit(asked("b")) as patient:
            with pytest.raises(TooLate):
                await read(late)
            patient.accept(Done("b", 0.0, 0.0))
            assert await read(patient) == [Done("b", 0.0, 0.0)]

    asyncio.run(run())


def test_a_pool_that_drains_takes_no_job_and_lets_the_others_end() -> None:
    async def run() -> None:
        pool = ready()
        quick, slow = pool.submit(asked("quick")), pool.submit(asked("slow"))
        draining = asyncio.create_task(pool.drain(seconds=0.0))
        await asyncio.sleep(0)
        assert pool.is_draining
        assert refusal(pool, asked("new")) == (NotReady, "the server is shutting down", None)
        with quick:
            quick.accept(Done("quick", 0.0, 0.0))
            assert await read(quick) == [Done("quick", 0.0, 0.0)]
        await draining
        with pytest.raises(NotReady, match="^the server is shutting down; ask again$"):
            await read(slow)

    asyncio.run(run())


def test_why_an_engine_cannot_go_on_is_told() -> None:
    told: list[str] = []
    pool = starting(on_unusable=told.append)
    engines(pool)[0].give_up("there is no such checkpoint")
    assert told == ["there is no such checkpoint"]
