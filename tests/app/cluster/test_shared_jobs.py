"""Ray's server and one without Ray share jobs on PostgreSQL and in an object store: when Ray's is
killed between the write of a sample and its commit, the job goes on with the same bytes."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.app.server import REAL, Server, quick_runtime
from tests.app.service.test_jobs_survive import ASYNC, ZIP, wait_done
from tests.postgres import Postgres
from tests.s3 import S3, Asked, Cut, Door

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

BODY: dict[str, Any] = {"n": 200, "seed": 11, "steps": 8, "labels": 2}
WAIT_SECONDS = 240


def ingress(server: Server) -> psutil.Process:
    """The process of Ray's server."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if " ".join(process.cmdline()).startswith("ray::ServeReplica:ddpm:server"):
            return process
    raise AssertionError(server.log.read_text())


def test_the_other_goes_on_when_rays_server_is_killed_before_a_commit(
    postgres: Postgres, s3: S3, tiny: Path, tmp_path: Path
) -> None:
    flags = (
        f"--checkpoint={tiny}", quick_runtime(), f"--jobs-url={postgres.new_database()}",
        f"--jobs-results={s3.new_bucket()}", "--jobs-lease-seconds=2",
    )  # fmt: skip
    killed = threading.Event()
    with Door(s3) as door, Door(s3) as plain:
        cluster = Server(
            tmp_path / "cluster.log",
            *flags,
            "--cluster=auto",
            engine=REAL,
            variables=door.variables,
        )
        with cluster:
            count = iter(range(1, 1 << 20))

            def kill(asked: Asked) -> None:
                if asked.writes_sample and next(count) == 10:
                    os.kill(ingress(cluster).pid, signal.SIGKILL)
                    killed.set()
                    raise Cut

            door.after = kill
            job = cluster.client.post("/sample", json=BODY, headers=ASYNC).json()["id"]
            assert killed.wait(WAIT_SECONDS)
            with Server(
                tmp_path / "plain.log", *flags, engine=REAL, variables=plain.variables
            ) as other:
                wait_done(other, job, BODY["n"])
                expected = other.post("/sample", BODY, "application/zip").content
                found = other.client.get(f"/jobs/{job}/result", headers=ZIP).content
    assert found == expected
