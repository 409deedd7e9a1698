"""Engines killed, stopped, out of memory, or wrong, while requests are running: real processes.

Every answer is held against that of an undisturbed server, byte for byte.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.pool.watchdog import WATCH_SECONDS
from app.wire.flight_recorder import SIZE
from tests.app.http.test_metrics import read
from tests.app.server import REAL, Server, faulty, free_port, quick_runtime
from tests.conftest import ServerFor

BAD = 666
"""The seed of the request that goes wrong."""
BODIES: list[dict[str, Any]] = [
    {"n": 1 + i % 4, "seed": i, "steps": [50, 20, 7][i % 3], "labels": i % 3, "guidance": i % 2}
    for i in range(12)
]
LONG = {"n": 64, "seed": 1, "labels": 1}
"""Goes on for seconds."""


@pytest.fixture(scope="module")
def undisturbed(server_for: ServerFor, tiny: Path) -> Server:
    return server_for(f"--checkpoint={tiny}", quick_runtime(), engine=REAL)


@pytest.fixture(scope="module")
def expected(undisturbed: Server) -> list[Any]:
    """What an undisturbed server answers to BODIES."""
    return [samples(undisturbed, body) for body in BODIES]


def samples(server: Server, body: dict[str, Any]) -> Any:
    """Asked for again where it came between two engines, and so was not accepted."""
    while "is being loaded" in (answer := server.post("/sample", body)).text:
        assert answer.status_code == 503
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    return answer.json()["samples"]


def wait_queued(server: Server, n: int) -> None:
    """Until at least so many samples are accepted and not finished."""
    while read(server)["ddpm_queued_samples",] < n:
        time.sleep(0.01)


@contextmanager
def serving(tiny: Path, tmp_path: Path, *flags: str, fault: str = "") -> Iterator[Server]:
    """A server, perhaps with a fault in its engine."""
    flags = (f"--checkpoint={tiny}", quick_runtime(), *flags)
    engine = faulty(fault) if fault else REAL
    with Server(tmp_path / "server.log", *flags, engine=engine) as server:
        yield server


@pytest.mark.slow
def test_engines_killed_again_and_again_lose_nothing_and_readyz_tells(
    tiny: Path, tmp_path: Path, expected: list[Any]
) -> None:
    chance = random.Random(0)
    with serving(tiny, tmp_path) as server, ThreadPoolExecutor(len(BODIES) + 1) as pool:
        long = pool.submit(samples, server, LONG)
        running = [pool.submit(samples, server, body) for body in BODIES]
        for _ in range(4):
            time.sleep(chance.uniform(0, 0.2))
            os.kill(server.engine_pid(), signal.SIGKILL)
            while server.client.get("/readyz").status_code == 200:
                time.sleep(0.005)
            assert server.client.get("/livez").status_code == 200
            server.wait_ready()
        assert [future.result() for future in running] == expected
        assert len(long.result()) == 64
        assert read(server)["ddpm_engine_restarts_total", "0"] == 4


@pytest.mark.slow
def test_a_request_that_kills_its_engine_fails_alone(
    tiny: Path, tmp_path: Path, expected: list[Any]
) -> None:
    with (
        serving(tiny, tmp_path, fault=f"crash={BAD}") as server,
        ThreadPoolExecutor(len(BODIES) + 1) as pool,
    ):
        bad = pool.submit(server.post, "/sample", {"n": 2, "seed": BAD, "steps": 50})
        running = [pool.submit(samples, server, body) for body in BODIES]
        answer = bad.result()
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert (
            "the engine died 2 times while running it, the last time at step 4 of sample 0"
            in (answer.json()["detail"])
        )
        assert [future.result() for future in running] == expected
        assert read(server)["ddpm_engine_restarts_total", "0"] == 2


@pytest.mark.slow
def test_an_engine_that_hangs_is_replaced(tiny: Path, tmp_path: Path, expected: list[Any]) -> None:
    with (
        serving(tiny, tmp_path, "--hang-seconds=2") as server,
        ThreadPoolExecutor(len(BODIES)) as pool,
    ):
        first = server.engine_pid()
        os.kill(first, signal.SIGSTOP)
        running = [pool.submit(samples, server, body) for body in BODIES]
        assert [future.result() for future in running] == expected
        assert server.engine_pid() != first
        assert read(server)["ddpm_engine_hangs_total", "0"] == 1


@pytest.mark.slow
def test_a_pause_of_the_whole_machine_is_not_taken_for_a_hang(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny, tmp_path, "--hang-seconds=2") as server, ThreadPoolExecutor(1) as pool:
        engine, expected = server.engine_pid(), samples(server, LONG)
        running = pool.submit(samples, server, LONG)
        wait_queued(server, 1)
        os.kill(engine, signal.SIGSTOP)
        time.sleep(WATCH_SECONDS + 0.1)  # the watchdog has seen where it is
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(server.process.pid, signal.SIGCONT)
        server.client.get("/livez")
        os.kill(engine, signal.SIGCONT)
        assert running.result() == expected
        assert server.engine_pid() == engine


@pytest.mark.slow
def test_the_time_that_an_engine_takes_to_start_is_not_taken_for_a_hang(
    tiny: Path, tmp_path: Path
) -> None:
    with (
        serving(tiny, tmp_path, "--hang-seconds=2", fault="late=1.5") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        expected = samples(server, LONG)
        running = pool.submit(samples, server, LONG)
        wait_queued(server, 1)
        os.kill(server.engine_pid(), signal.SIGKILL)
        assert running.result() == expected
        assert read(server)["ddpm_engine_restarts_total", "0"] == 1
        assert read(server)["ddpm_engine_hangs_total", "0"] == 0


@pytest.mark.slow
def test_a_request_that_hangs_one_of_two_lanes_fails_alone(tiny: Path, tmp_path: Path) -> None:
    flags = ("--device=cpu", "--runtime=openvino", "--hang-seconds=2", "--threads=2")
    with (
        serving(tiny, tmp_path, *flags, fault=f"hang={BAD}") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        expected = samples(server, BODIES[0])
        bad = pool.submit(server.post, "/sample", {"seed": BAD, "steps": 50})
        while not bad.done():  # so the other lane goes on
            assert samples(server, BODIES[0]) == expected
        assert bad.result().status_code == 500
        assert "the engine died 2 times while running it" in bad.result().json()["detail"]
        assert read(server)["ddpm_engine_hangs_total", "0"] == 2


@pytest.mark.slow
def test_an_idle_engine_is_not_taken_for_a_hanging_one(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny, tmp_path, "--hang-seconds=0.5") as server:
        engine = server.engine_pid()
        time.sleep(2)
        assert server.engine_pid() == engine


@pytest.mark.slow
def test_out_of_memory_makes_batches_smaller_and_the_answers_stay(
    tiny: Path, tmp_path: Path, expected: list[Any]
) -> None:
    with (
        serving(tiny, tmp_path, fault="memory=4") as server,
        ThreadPoolExecutor(len(BODIES)) as pool,
    ):
        running = [pool.submit(samples, server, body) for body in BODIES]
        assert [future.result() for future in running] == expected
        found = read(server)
        assert found["ddpm_engine_max_batch", "0", "tiny"] == 4
        assert found["ddpm_engine_out_of_memory_total", "0"] >= 1
        os.kill(server.engine_pid(), signal.SIGKILL)
        while server.client.get("/readyz").status_code == 200:
            time.sleep(0.01)
        server.wait_ready()
        assert read(server)["ddpm_engine_max_batch", "0", "tiny"] == 4, "remembered"


@pytest.mark.slow
def test_what_is_not_a_number_fails_its_own_request(
    tiny: Path, tmp_path: Path, expected: list[Any]
) -> None:
    with (
        serving(tiny, tmp_path, fault=f"nan={BAD}") as server,
        ThreadPoolExecutor(len(BODIES) + 1) as pool,
    ):
        bad = pool.submit(server.post, "/sample", {"seed": BAD, "first_index": 7, "steps": 50})
        running = [pool.submit(samples, server, body) for body in BODIES]
        assert bad.result().status_code == 500
        assert "sample 7 is not a number after step 4 of 50" in bad.result().json()["detail"]
        assert [future.result() for future in running] == expected


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(
    tiny: Path, tmp_path: Path, expected: list[Any]
) -> None:
    with serving(tiny, tmp_path, fault="clock=1") as server, ThreadPoolExecutor(12) as pool:
        running = [pool.submit(server.post, "/sample", body) for body in BODIES]
        for future, known in zip(running, expected, strict=True):
            answer = future.result().json()
            assert answer["samples"] == known
            assert 0 <= answer["timing"]["queued_s"] < 100 > answer["timing"]["compute_s"] >= 0


@pytest.mark.slow
def test_past_the_drain_limit_those_still_waiting_are_told(tiny: Path, tmp_path: Path) -> None:
    with (
        serving(tiny, tmp_path, "--shutdown-seconds=1") as server,
        ThreadPoolExecutor(2) as pool,
    ):
        engine = server.engine_pid()
        body = {"n": 256, "labels": 1}
        plain = pool.submit(server.post, "/sample", body)
        stream = pool.submit(server.post, "/denoise-trajectory", body, "text/event-stream")
        wait_queued(server, 257)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert plain.result().status_code == 503
        assert plain.result().headers["content-type"] == "application/problem+json"
        assert "shutting down" in plain.result().json()["detail"]
        assert "retry-after" in plain.result().headers
        *_, last, nothing = stream.result().text.split("\n\n")
        assert nothing == "" and last.startswith("event: error\n") and "shutting down" in last
        assert not Path(f"/proc/{engine}").exists()


@pytest.mark.slow
def test_draining_takes_no_new_work(tiny: Path, tmp_path: Path) -> None:
    with serving(tiny, tmp_path) as server, ThreadPoolExecutor(1) as pool:
        with httpx.Client(base_url=server.url, timeout=60) as kept:
            kept.get("/livez")  # a connection from before
            running = pool.submit(server.post, "/sample", {"n": 200, "labels": 1})
            wait_queued(server, 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.url}/livez")
            assert running.result().status_code == 200
        assert server.process.wait(30) == 0


@pytest.mark.slow
def test_clients_that_leave_at_random_moments_leave_nothing_behind(
    tiny: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    with serving(tiny, tmp_path) as server, ThreadPoolExecutor(16) as pool:

        def leave(seed: int) -> None:
            accept = ("application/json", "text/event-stream")[seed % 2]
            body = {"n": 1 + seed % 8, "seed": seed, "frames": 2 + seed % 9, "labels": 1}
            seconds = chance.expovariate(20)
            try:
                with server.client.stream(
                    "POST", "/denoise-trajectory", json=body,
                    headers={"Accept": accept}, timeout=httpx.Timeout(60, read=seconds),
                ) as answer:  # fmt: skip
                    for _ in answer.iter_bytes():
                        if chance.random() < 0.2:
                            return
            except httpx.TransportError:
                pass

        def stay(seed: int) -> int:
            body = {"n": 1, "steps": 2, "sampler": "ddim", "seed": seed}
            return server.post("/sample", body).status_code

        assert set(pool.map(stay, range(64))) == {200}  # every thread of the pools is made now,
        list(pool.map(leave, range(100)))  # and whatever else is made once
        files, threads = open_files(server), count_threads(server)
        list(pool.map(leave, range(2000)))
        for _ in range(200):
            found = read(server)
            is_empty = found["ddpm_queued_samples",] == 0
            if is_empty and open_files(server) == files and count_threads(server) <= threads:
                break
            time.sleep(0.1)
        assert found["ddpm_queued_samples",] == found["ddpm_backlog_rows",] == 0
        assert open_files(server) == files
        assert count_threads(server) <= threads


def open_files(server: Server) -> Counter[str]:
    """The API process' by name, but for connections that are kept alive and those of the job
    database, whose pool grows and shrinks by itself."""
    names = Counter[str]()
    for fd in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            name = os.readlink(fd)
        except FileNotFoundError:  # closed meanwhile
            continue
        if not name.startswith("socket:") and "jobs.sqlite" not in name:
            names[name] += 1
    return names


def count_threads(server: Server) -> int:
    """The API process'; some pools end idle ones after a while."""
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["eager", "openvino"])
def test_serving_needs_no_disk(runtime: str, tiny: Path, server_for: ServerFor) -> None:
    """No file may grow, as on a full disk, but for the memory that it shares with its engine, which
    the limit takes for one; and there is no place for temporary ones."""
    flags = [f"--checkpoint={tiny}", "--device=cpu", f"--runtime={runtime}"]
    expected = samples(server_for(*flags, engine=REAL), BODIES[0])
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", *flags, f"--port={port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[3],
        env={**os.environ, "HOME": "/nowhere", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE)),
    )  # fmt: skip
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        answer = httpx.post(f"{url}/sample", json=BODIES[0], timeout=60)
        assert answer.json()["samples"] == expected
    finally:
        process.terminate()
        assert process.wait(30) == 0
