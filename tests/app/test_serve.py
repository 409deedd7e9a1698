"""The server process: its address, and how it is told to stop."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.pool.child import Child, start
from app.pool.pool import EnginePool
from app.serve import Server, drain, log_address, print_address, run, take_signals, warn_of
from app.settings import Settings
from app.wire.options import Options
from tests.app.server import Server as ServerProcess
from tests.app.server import free_port


def test_misspelt_variables_are_warned_of_each_and_those_of_kubernetes_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = {"DDPM_PORT": "tcp://10.0.0.1:8000", "DDPM_SERVICE_HOST": "10.0.0.1"}
    warn_of({**service, "DDPM_PROT": "9000", "DDPM_HOST": "::"})
    misspelt, kubernetes = (line.message for line in caplog.records)
    assert misspelt.startswith("the environment variable DDPM_PROT is not a setting")
    assert kubernetes.startswith("ignored DDPM_PORT, DDPM_SERVICE_HOST: Kubernetes makes these")


def test_a_variable_of_uvicorns_own_that_is_not_read_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of({"FORWARDED_ALLOW_IPS": "10.0.0.1"})
    (line,) = caplog.messages
    assert line.startswith("ignored FORWARDED_ALLOW_IPS: DDPM_TRUSTED_PROXIES")


def test_the_address_is_a_sentence_for_people_and_a_line_for_programs(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    print_address("http://127.0.0.1:8000/")
    assert capsys.readouterr().out == "Ready. Open http://127.0.0.1:8000/ in a browser.\n"
    with caplog.at_level(logging.INFO):
        log_address("http://127.0.0.1:8000/")
    (line,) = caplog.records
    assert (line.message, vars(line)["url"]) == ("ready", "http://127.0.0.1:8000/")


async def no_app(_: Scope, __: Receive, ___: Send) -> None:
    pass


def test_it_announces_itself_when_it_is_ready_and_drains_when_it_stops() -> None:
    told: list[str] = []

    async def run() -> None:
        is_ready = asyncio.Event()

        async def drain() -> None:
            told.append("draining")
            await asyncio.sleep(60)

        config = uvicorn.Config(no_app, port=0, lifespan="off", log_config=None)
        server = Server(config, is_ready.wait, told.append, drain)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        assert told == [], "it listens, and is not ready"
        is_ready.set()
        while not told:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    asyncio.run(run())
    address, draining = told
    assert address.startswith("http://127.0.0.1:") and address != "http://127.0.0.1:0/"
    assert draining == "draining"


def test_an_engine_that_is_ready_only_while_the_server_stops_is_not_announced() -> None:
    told: list[str] = []

    async def run() -> Server:
        is_ready = asyncio.Event()

        async def drain() -> None:
            while server.servers[0].sockets:  # until it no longer listens
                await asyncio.sleep(0)
            is_ready.set()

        server = made(is_ready.wait, told.append, drain)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await serving
        return server

    server = asyncio.run(run())
    assert (server.failure, told) == (None, [])


@pytest.mark.slow
def test_a_second_interrupt_ends_it_at_once_and_in_order(tiny: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server.log", f"--checkpoint={tiny}")
    with server:
        with ThreadPoolExecutor(1) as thread:
            long = {"n": 256}
            asked = thread.submit(server.client.post, "/sample", json=long)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGINT)
            while "stopping" not in server.log.read_text():
                time.sleep(0.01)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(30) == 0
            assert asked.exception() or asked.result().status_code in (200, 503)
    log = server.log.read_text()
    assert "Traceback" not in log and "[error" not in log and "stopped" in log


def test_an_address_in_use_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = uvicorn.Config(
            no_app, port=taken.getsockname()[1], lifespan="off", log_config=None
        )
        server = Server(config, asyncio.Event().wait, print, drain=lambda: asyncio.sleep(0))
        with pytest.raises(SystemExit):
            asyncio.run(server.serve())
    assert f"cannot listen on 127.0.0.1, port {config.port}: choose another" in caplog.text


@pytest.mark.parametrize(
    ("images", "said"),
    [(0, "stopping"), (3, "stopping: the 3 unfinished images have 30 s")],
)
def test_when_it_stops_it_says_what_it_waits_for(
    images: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Pool:
        queued_samples = images
        drained: list[float] = []

        async def drain(self, seconds: float) -> None:
            self.drained.append(seconds)

    pool = Pool()
    with caplog.at_level(logging.INFO, "ddpm.server"):
        asyncio.run(drain(cast(EnginePool, pool), 30))
    assert (caplog.messages, pool.drained) == ([said], [30])


def made(
    until_ready: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0),
    on_ready: Callable[[str], None] = print,
    drain: Callable[[], Coroutine[None, None, None]] = lambda: asyncio.sleep(60),
) -> Server:
    config = uvicorn.Config(no_app, port=0, lifespan="off", log_config=None)
    return Server(config, until_ready, on_ready, drain)


def test_a_server_that_cannot_go_on_ends_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    server = made()
    server.fail("there is no such checkpoint")
    server.fail("and its drain failed")
    assert server.should_exit
    assert server.failure == "there is no such checkpoint"
    assert capsys.readouterr().err.startswith("ddpm serve: there is no such checkpoint\n")


class Closed:
    """A pipe that nobody reads."""

    def write(self, _: str) -> None:
        raise BrokenPipeError


def test_it_ends_also_where_nobody_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Closed())
    server = made()
    server.fail("there is no such checkpoint")
    assert server.should_exit and server.failure


def test_an_announcement_that_fails_ends_the_server_and_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: str) -> None:
        raise ValueError("no words")

    server = made(on_ready=broken)
    asyncio.run(server.serve())
    assert server.failure is not None
    assert "the announcement ended: ValueError('no words')" in server.failure
    assert "no words" in caplog.text


def test_a_drain_that_fails_is_not_lost() -> None:
    async def broken() -> None:
        raise ValueError("no drain")

    async def run() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    server = made(drain=broken)
    asyncio.run(run())
    assert server.failure is not None and "no drain" in server.failure


def test_where_nobody_reads_the_address_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Closed())
    server = made(on_ready=print_address, drain=lambda: asyncio.sleep(0))

    async def run() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not server.should_exit
        server.should_exit = True
        await serving

    asyncio.run(run())
    assert server.failure is None


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of signals are in the end what they were."""
    before = {
        kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize("stopping", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("signals")
def test_a_signal_right_before_the_server_runs_is_not_lost(stopping: signal.Signals) -> None:
    server = made(drain=lambda: asyncio.sleep(0))
    take_signals(server, Settings())
    signal.raise_signal(stopping)
    asyncio.run(asyncio.wait_for(server.serve(), 60))
    assert server.started and server.failure is None
    signal.raise_signal(stopping)  # nor does it hurt when all is over


@pytest.mark.usefixtures("signals")
def test_a_hangup_right_before_the_server_listens_is_not_lost(tmp_path: Path) -> None:
    told: list[bool] = []
    config = uvicorn.Config(no_app, port=0, lifespan="off", log_config=None)
    server = Server(
        config,
        until_ready=lambda: asyncio.sleep(0),
        on_ready=lambda _: server.stop(),
        drain=lambda: asyncio.sleep(0),
        on_hangup=lambda: told.append(server.started),
    )
    take_signals(server, Settings(api_keys_file=str(tmp_path / "keys.toml")))
    signal.raise_signal(signal.SIGHUP)
    asyncio.run(server.serve())
    assert told == [True]


def test_an_interrupt_while_the_second_engine_starts_ends_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Child] = []

    async def interrupted(command: Sequence[str], options: Options) -> Child:
        if started:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        started.append(await start(command, options))
        return started[0]

    monkeypatch.setattr("app.local_engines.start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(
            Settings(port=0, device="cpu,cuda"),
            [sys.executable, "-c", "import time; time.sleep(600)"],
        )
    (first,) = started
    assert not first.is_running


STREAMS = """
import socket
from app.serve import open_streams

open_streams()
print(socket.socket().fileno())
"""


@pytest.mark.parametrize("closed", [(0,), (0, 2)])
def test_no_socket_is_in_the_place_of_a_standard_stream(closed: tuple[int, ...]) -> None:
    def close() -> None:
        for stream in closed:
            os.close(stream)

    command = [sys.executable, "-c", STREAMS]
    ended = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=close, check=True)
    assert int(ended.stdout) > 2


STUCK = """
import sys, time
from app import cli
from app.jobs.result_store import ResultStore

engine = [sys.executable, "-m", "tests.fake_engine", "0.002"]
setattr(ResultStore, sys.argv[1], lambda *_: print("stuck", flush=True) or time.sleep(3600))
sys.exit(cli.serve(sys.argv[2:], engine_command=engine))
"""
"""A server on whose disk one kind of call never returns."""


@pytest.mark.slow
@pytest.mark.parametrize("call", [pytest.param("open", marks=pytest.mark.slow), "write"])
def test_a_dead_disk_does_not_keep_the_process_alive(call: str, tmp_path: Path) -> None:
    port = free_port()
    flags = [f"--port={port}", f"--jobs-folder={tmp_path}", "--threads=1"]
    command = [sys.executable, "-c", STUCK, call, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        told = b""
        while b"Ready" not in told or (call == "open" and b"stuck" not in told):
            told += server.stdout.readline()
        while call == "write" and b"stuck" not in told:
            url, job = f"http://127.0.0.1:{port}/sample", {"Prefer": "respond-async"}
            if httpx.post(url, json={"steps": 2}, headers=job).status_code == 202:
                told += server.stdout.readline()
            time.sleep(0.1)
        server.terminate()
        rest, _ = server.communicate(timeout=60)
        assert server.returncode == 0
        assert b"some work does not end" in rest
