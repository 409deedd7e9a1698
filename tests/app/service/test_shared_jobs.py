"""Servers that share jobs on PostgreSQL and in an object store, of which one fails where it hurts
most: while it computes, between the write of a sample and its commit, and by a pause that is longer
than its lease. Every sample is counted once, the result has the bytes of an undisturbed run, and
the webhook is called once.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.app.jobs.test_webhook import SECRET, Receiver
from tests.app.server import Server
from tests.app.service.test_jobs_survive import ASYNC, ZIP, status, wait_done
from tests.postgres import Postgres
from tests.s3 import S3, Asked, Cut, Door, error

BODY: dict[str, Any] = {"n": 150, "seed": 11, "steps": 8, "sampler": "ddim", "labels": 2}
WAIT_SECONDS = 120


class Shared:
    """Two servers on one database and one bucket, each with a door of its own to the bucket, and
    the receiver of their webhooks."""

    def __init__(self, stack: ExitStack, database: str, s3: S3, tiny: Path, folder: Path) -> None:
        self.database = database
        self.bucket = s3.new_bucket()
        self.receiver = stack.enter_context(Receiver(200))
        self.doors = [stack.enter_context(Door(s3)) for _ in range(2)]
        flags = (
            f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-url={database}",
            f"--jobs-results={self.bucket}", "--jobs-lease-seconds=1", "--webhook-private=true",
        )  # fmt: skip
        self.one, self.other = (
            stack.enter_context(
                Server(
                    folder / f"{number}.log",
                    *flags,
                    variables={**door.variables, "DDPM_WEBHOOK_SECRET": SECRET},
                )
            )
            for number, door in enumerate(self.doors)
        )

    def accepted(self) -> str:
        """The id of a job that the first server has accepted, with a webhook."""
        headers = {**ASYNC, "X-Webhook-URL": self.receiver.url}
        answer = self.one.client.post("/sample", json=BODY, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def at_sample(self, number: int, act: Callable[[], None]) -> None:
        """Do this when the bucket has so many samples of the first server, of whose last one that
        does not know yet."""
        count = iter(range(1, 1 << 20))

        def after(asked: Asked) -> None:
            if asked.writes_sample and next(count) == number:
                act()

        self.doors[0].after = after

    def rows(self, job_id: str) -> list[Any]:
        """All that the database knows of a job."""
        with psycopg.connect(self.database) as connection:
            jobs = connection.execute("SELECT * FROM jobs WHERE id = %s", [job_id]).fetchall()
            samples = connection.execute(
                "SELECT * FROM job_samples WHERE job_id = %s ORDER BY number", [job_id]
            ).fetchall()
        assert len(jobs) == 1
        return jobs + samples

    def result(self, job_id: str) -> bytes:
        """What it has made."""
        return self.other.client.get(f"/jobs/{job_id}/result", headers=ZIP).content

    def check(self, job_id: str) -> None:
        """The job ends as if nothing had happened."""
        wait_done(self.other, job_id, BODY["n"])
        assert self.result(job_id) == self.other.post("/sample", BODY, "application/zip").content
        assert len(self.rows(job_id)) == 1 + BODY["n"]
        _, call = self.receiver.calls.get(timeout=WAIT_SECONDS)
        assert (json.loads(call)["id"], json.loads(call)["status"]) == (job_id, "finished")


@pytest.fixture
def shared(postgres: Postgres, s3: S3, tiny: Path, tmp_path: Path) -> Iterator[Shared]:
    with ExitStack() as stack:
        yield Shared(stack, postgres.new_database(), s3, tiny, tmp_path)


@pytest.mark.slow
def test_one_is_killed_while_it_computes(shared: Shared) -> None:
    job_id = shared.accepted()
    wait_done(shared.other, job_id, 20)
    shared.one.process.kill()
    shared.one.process.wait()
    shared.check(job_id)
    assert shared.receiver.calls.empty()


@pytest.mark.slow
def test_one_is_killed_between_the_write_of_a_sample_and_its_commit(shared: Shared) -> None:
    killed = threading.Event()

    def kill() -> None:
        shared.one.process.kill()
        killed.set()
        raise Cut

    shared.at_sample(10, kill)
    job_id = shared.accepted()
    assert killed.wait(WAIT_SECONDS)
    assert len(shared.rows(job_id)) <= 10, "one less than there are files"
    shared.one.process.wait()
    shared.check(job_id)
    assert shared.receiver.calls.empty()


@pytest.mark.slow
def test_one_is_paused_and_comes_back_when_another_has_its_job(shared: Shared) -> None:
    paused, over = threading.Event(), threading.Event()

    def pause() -> None:
        shared.one.process.send_signal(signal.SIGSTOP)
        paused.set()
        over.wait(WAIT_SECONDS)

    shared.at_sample(10, pause)
    job_id = shared.accepted()
    assert paused.wait(WAIT_SECONDS)
    shared.check(job_id)
    before = shared.rows(job_id)
    shared.one.process.send_signal(signal.SIGCONT)
    over.set()
    shared.other.stop()  # what follows, the first one does
    body = {"n": 40, "seed": 12, "steps": 4}
    later = shared.one.client.post("/sample", json=body, headers=ASYNC).json()["id"]
    wait_done(shared.one, later, 40)
    assert shared.rows(job_id) == before
    assert shared.one.client.get(f"/jobs/{job_id}").json()["done"] == BODY["n"]
    assert shared.receiver.calls.empty(), "it was called by the other one"


@pytest.mark.slow
def test_jobs_wait_for_a_store_that_is_away_and_results_are_asked_for_again(
    shared: Shared,
) -> None:
    for door in shared.doors:
        door.before = lambda _: error(503, "SlowDown")
    job_id = shared.accepted()
    deadline = time.monotonic() + WAIT_SECONDS
    while "SlowDown" not in (detail := str(status(shared.one, job_id)["detail"])):
        assert time.monotonic() < deadline, detail
        time.sleep(0.1)
    for door in shared.doors:
        door.before = lambda _: None
    wait_done(shared.one, job_id, BODY["n"])
    shared.doors[0].before = lambda _: error(503, "SlowDown")
    refused = shared.one.client.get(f"/jobs/{job_id}/result", headers=ZIP)
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    shared.doors[0].before = lambda _: None
    shared.check(job_id)


@pytest.mark.slow
def test_objects_that_are_missing_or_damaged_are_made_again(shared: Shared, s3: S3) -> None:
    job_id = shared.accepted()
    shared.check(job_id)
    before = shared.result(job_id)
    place = f"{shared.bucket.removeprefix('s3:/')}/{job_id}"
    assert s3.ask("DELETE", f"{place}/000003").status == 204
    whole = s3.ask("GET", f"{place}/000005").body
    for name, content in (("000004", b""), ("000005", whole[:-1] + bytes([whole[-1] ^ 1]))):
        assert s3.ask("PUT", f"{place}/{name}", content).status == 200
    refused = shared.other.client.get(f"/jobs/{job_id}/result", headers=ZIP)
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    wait_done(shared.other, job_id, BODY["n"])
    while (answer := shared.other.client.get(f"/jobs/{job_id}/result", headers=ZIP)).is_error:
        time.sleep(0.1)
    assert answer.content == before
    assert shared.receiver.calls.empty(), "it has been called"
