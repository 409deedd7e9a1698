"""Storage that cannot be used: requests are answered as ever, jobs are refused with the reason."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.server import Server

BODY = {"n": 1, "steps": 2}
ASYNC = {"Prefer": "respond-async"}
WAIT_SECONDS = 60


def submit(server: Server, **headers: str) -> httpx.Response:
    return server.client.post("/sample", json=BODY, headers={**ASYNC, **headers})


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


def test_a_folder_that_cannot_be_made_stops_jobs_only_and_only_while_it_lasts(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    flags = [f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-folder={tmp_path}/file/jobs"]
    with Server(tmp_path / "server.log", *flags) as server:
        answer = submit(server)
        assert f"{tmp_path}/file/jobs cannot be used" in problem(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1
        problem(server.client.get("/jobs/any"), 503)
        keyed = server.client.post("/sample", json=BODY, headers={"Idempotency-Key": "a"})
        problem(keyed, 503)
        assert server.post("/sample", BODY).status_code == 200
        (tmp_path / "file").unlink()
        deadline = time.monotonic() + WAIT_SECONDS
        while submit(server).status_code != 202:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_two_servers_do_not_share_an_sqlite_database(tiny: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={tiny}", "--runtime=eager"]
    with (
        Server(tmp_path / "one.log", *flags) as one,
        Server(tmp_path / "other.log", *flags) as other,
    ):
        assert submit(one).status_code == 202
        detail = problem(submit(other), 503)
        assert "another server uses" in detail and "DDPM_JOBS_FOLDER" in detail
        assert other.post("/sample", BODY).status_code == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system of its own needs root, and a container that may mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_jobs_and_lets_the_running_ones_wait(
    tiny: Path, tmp_path: Path, small_disk: Path
) -> None:
    flags = [f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-results={small_disk}"]
    with Server(tmp_path / "server.log", *flags) as server:
        large = server.client.post("/sample", json={"n": 50_000, "steps": 1}, headers=ASYNC)
        assert "the server's disk has" in problem(large, 507)
        accepted = server.client.post("/sample", json={"n": 200, "steps": 10}, headers=ASYNC)
        assert accepted.status_code == 202
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(2 << 20))
        place, deadline = accepted.headers["Location"], time.monotonic() + WAIT_SECONDS
        while "No space left" not in str(server.client.get(place).json()["detail"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.post("/sample", BODY).status_code == 200
        problem(submit(server), 507)
        filler.unlink()
        while server.client.get(place).json()["status"] != "finished":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "jobs stopped" not in server.log.read_text()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--jobs-url=mysql://host/name", "'mysql' is not sqlite or postgresql"),
        ("--jobs-results=s3x://bucket", "Protocol not known: s3x"),
        ("--max-job-samples=0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_ends_the_server_with_its_name(flag: str, message: str) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", flag]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert flag.split("=")[0].strip("-").replace("-", "_") in ended.stderr
