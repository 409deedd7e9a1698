"""Jobs outlive their servers: SIGKILL at random moments, several servers at one database, and a
process that dies at any one of its calls of the storage."""

import asyncio
import inspect
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from app.generation.zip_stream import Body
from app.jobs import worker
from app.jobs.database import parse_url
from app.jobs.errors import StorageUnavailable
from app.jobs.leases import Leases
from app.jobs.quotas import Quota
from app.jobs.representations import STREAMS, Stored
from app.jobs.result_store import ResultStore
from app.jobs.store import Store
from app.jobs.worker import Terms, Worker
from app.tasks import end
from tests.app.jobs.fakes import STEPS, TIMING, FakePool, answer, limits_of, make_job, make_plan
from tests.app.server import Server
from tests.postgres import Postgres
from tests.tiny import save_tiny

BODY: dict[str, Any] = {
    "n": 500,
    "seed": 11,
    "steps": 8,
    "sampler": "ddim",
    "eta": 1.0,
    "labels": 2,
}
ASYNC = {"Prefer": "respond-async"}
ZIP = {"Accept": "application/zip"}
WAIT_SECONDS = 120


def accepted(server: Server, body: dict[str, Any]) -> str:
    """The id of a new job."""
    answer = server.client.post("/sample", json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def status(server: Server, job_id: str) -> dict[str, Any]:
    answer = server.client.get(f"/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_done(server: Server, job_id: str, done: int) -> None:
    """Until that many samples are made."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = server.client.get(f"/jobs/{job_id}")
        if found.status_code == 200 and found.json()["done"] >= done:
            return
        assert found.status_code in (200, 503), found.text  # 503: the storage is being opened
        time.sleep(0.01)
    raise AssertionError((status(server, job_id), server.log.read_text()))


def kill(server: Server, after: float = 0.0) -> None:
    time.sleep(after)
    server.process.kill()
    server.process.wait()


@pytest.mark.slow
def test_what_one_kind_of_machine_began_no_other_goes_on_with(tmp_path: Path) -> None:
    card = save_tiny(tmp_path / "one", num_classes=3) / "model_card.json"
    card.write_text(card.read_text().replace('"data": null', '"data": "each a machine"'))
    keyed, body = {"Idempotency-Key": "key"}, {"n": 1, "steps": 2, "labels": 1}
    engine = "tests.fake_engine", "0.05"
    with Server(tmp_path / "log", f"--checkpoint={card.parent}", engine=engine) as server:
        first, again = (
            server.client.post("/sample", json=body, headers=keyed).json() for _ in range(2)
        )
        assert first["samples"] == again["samples"], again
        job_id = accepted(server, BODY)
        wait_done(server, job_id, 1)
        os.kill(server.engine_pid(), signal.SIGKILL)  # the next one is of another kind
        deadline = time.monotonic() + WAIT_SECONDS
        while "no engine is of the kind of machine" not in str(status(server, job_id)["detail"]):
            assert time.monotonic() < deadline, status(server, job_id)
            time.sleep(0.05)
        assert server.post("/sample", body).status_code == 200
        assert status(server, job_id)["done"] < BODY["n"]
        assert server.client.post("/sample", json=body, headers=keyed).status_code == 409


@pytest.mark.slow
@pytest.mark.timeout(900)  # as many starts of a server
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_job_whose_server_is_killed_again_and_again_is_the_same_bytes(
    kills: int, database: str, tiny: Path, tmp_path: Path
) -> None:
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-url={database}",
        "--jobs-lease-seconds=1", "--max-samples=500",
    ]  # fmt: skip
    rng = random.Random(kills)
    moments = sorted(rng.sample(range(1, BODY["n"]), kills))
    with Server(tmp_path / "server.log", *flags) as server:
        job_id = accepted(server, BODY)
        kill(server, rng.uniform(0, 0.1))
    for done in moments[1:]:
        with Server(tmp_path / "server.log", *flags) as server:
            wait_done(server, job_id, done)
            kill(server, rng.uniform(0, 0.1))
    with Server(tmp_path / "server.log", *flags) as server:
        wait_done(server, job_id, BODY["n"])
        expected = server.post("/sample", BODY, "application/zip").content
        assert server.client.get(f"/jobs/{job_id}/result", headers=ZIP).content == expected


@pytest.mark.slow
def test_a_dead_servers_job_is_taken_over_by_another_on_the_same_database(
    postgres: Postgres, tiny: Path, tmp_path: Path
) -> None:
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-url={postgres.new_database()}",
        "--jobs-lease-seconds=1", "--max-samples=500",
    ]  # fmt: skip
    with (
        Server(tmp_path / "one.log", *flags) as one,
        Server(tmp_path / "other.log", *flags) as other,
    ):
        job_id = accepted(one, BODY)
        wait_done(other, job_id, 1)
        kill(one)
        wait_done(other, job_id, BODY["n"])
        expected = other.post("/sample", BODY, "application/zip").content
        assert other.client.get(f"/jobs/{job_id}/result", headers=ZIP).content == expected


@pytest.mark.slow
def test_a_job_waits_for_a_server_with_its_weights(tiny: Path, tmp_path: Path) -> None:
    flags = ["--runtime=eager"]
    with Server(tmp_path / "server.log", f"--checkpoint={tiny}", *flags) as server:
        job_id = accepted(server, {"n": 120, "steps": 20})
        kill(server)
    colour = save_tiny(tmp_path / "colour", channels=3)
    with Server(tmp_path / "server.log", f"--checkpoint={colour}", *flags) as server:
        own = accepted(server, {"n": 1, "steps": 1})
        wait_done(server, own, 1)
        found = status(server, job_id)
        assert found["done"] < found["total"]
        assert found["detail"].startswith("waits for a server that has its model's weights: ")
    with Server(tmp_path / "server.log", f"--checkpoint={tiny}", *flags) as server:
        wait_done(server, job_id, 120)


class Death:
    """Ends a process at its call `at` of the storage, right before or right after what that call
    does. From then on, the process changes nothing."""

    def __init__(self, at: int, *, is_after: bool) -> None:
        self.has_come = asyncio.Event()
        self._at, self._is_after = at, is_after
        self._calls = itertools.count(1)
        self._is_dead = False
        self._loop = asyncio.get_running_loop()

    def begin(self) -> int:
        """The number of a call that is about to be made."""
        if self._is_dead:
            raise StorageUnavailable("the process is dead")
        call = next(self._calls)
        if not self._is_after:
            self._die_at(call)
        return call

    def end(self, call: int) -> None:
        """The call has been made."""
        if self._is_after:
            self._die_at(call)

    def _die_at(self, call: int) -> None:
        if call == self._at:
            self._is_dead = True
            self._loop.call_soon_threadsafe(self.has_come.set)
            raise StorageUnavailable("the process dies")


class Mortal:
    """The storage of a process that dies: each method is one call."""

    def __init__(self, storage: Leases | ResultStore, death: Death) -> None:
        self._storage, self._death = storage, death

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*arguments: Any) -> Any:
            number = self._death.begin()
            found = method(*arguments)
            self._death.end(number)
            return found

        async def call_async(*arguments: Any) -> Any:
            number = self._death.begin()
            found = await method(*arguments)
            self._death.end(number)
            return found

        return call_async if inspect.iscoroutinefunction(method) else call


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    opened = Store(parse_url(database))
    await opened.open()
    yield opened
    await opened.close()


async def live(
    store: Store, results: ResultStore, job_id: str, death: Death
) -> tuple[bool, list[int]]:
    """One process that works on the job until that is finished or the process dies: whether it
    died, and the indices of the samples it had made."""
    pool = FakePool()
    terms = Terms(
        uuid4().hex, chunk=2, lease_seconds=60.0, expiry_seconds=3600.0, idle_seconds=60.0
    )
    mortal = cast(Leases, Mortal(store.leases, death)), cast(ResultStore, Mortal(results, death))
    with ThreadPoolExecutor(2) as threads:
        running = asyncio.create_task(
            Worker(*mortal, pool.as_pool(), threads, terms, limits_of).run()
        )
        async with asyncio.timeout(30):
            while not death.has_come.is_set() and (await store.get(job_id)).status != "finished":
                await asyncio.sleep(0.01)
        await end([running])
    return death.has_come.is_set(), pool.asked


async def die_and_finish(
    store: Store, results: ResultStore, deaths: list[Death], shown: tuple[int, ...]
) -> bool:
    """A job whose processes die these deaths, one after the other, and that is then finished. Did
    all of the deaths come?"""
    plan = make_plan(n=3, shown=shown, job_id=uuid4().hex)
    quota = Quota(jobs=10, size=10**9)
    job = await store.create(make_job(plan), None, seed=7, server=quota, client=quota)
    came = []
    for death in [*deaths, Death(0, is_after=True)]:
        await store.leases.release_all()  # the dead process' lease has run out
        missing = await store.leases.missing(await store.get(job.id), limit=100)
        died, made = await live(store, results, job.id, death)
        came.append(died)
        assert set(made) <= {plan.submit.indices[number] for number in missing}, "made twice"
    found, index = await store.get(job.id), await store.index(job.id)
    assert (found.status, found.done, len(index.size)) == ("finished", 3, 3)
    media_type = "application/x-npz" if shown else "application/zip"
    body = STREAMS[found.kind][media_type](Stored(found.kind, plan, TIMING, results, index))
    assert isinstance(body, Body)
    assert b"".join(body.blocks(0, body.size)) == answer(plan, media_type)
    return all(came[:-1])


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("shown", [(), (0, STEPS)], ids=["images", "frames"])
async def test_a_process_may_die_at_any_call_and_every_sample_is_kept_once(
    shown: tuple[int, ...],
    is_after: bool,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "RECORD_SECONDS", 0.0)  # each sample is recorded on its own
    results = ResultStore(str(tmp_path / "results"))
    for at in itertools.count(1):
        if not await die_and_finish(store, results, [Death(at, is_after=is_after)], shown):
            break
    assert at > 15, "the calls of one life"


@pytest.mark.slow
@pytest.mark.anyio
async def test_processes_may_die_one_after_the_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RECORD_SECONDS", 0.0)
    results, rng = ResultStore(str(tmp_path / "results")), random.Random(0)
    for _ in range(20):
        deaths = [Death(rng.randint(2, 9), is_after=rng.random() < 0.5) for _ in range(4)]
        await die_and_finish(store, results, deaths, ())
