"""Start-up failures, dying engines, shutting down: on real processes."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from app import cli
from app.engine.loading import load
from app.wire.messages import Load
from app.wire.options import Options
from diffusion.checkpoint import CheckpointError
from diffusion.devices import DeviceError
from tests.app.http.test_metrics import read
from tests.app.server import FAKE, REAL, Server, free_port
from tests.tiny import save_tiny


def serve(*flags: str) -> subprocess.CompletedProcess[str]:
    """`ddpm serve` with settings that cannot work: it must end by itself."""
    command = [sys.executable, "-m", "app.cli", "serve", f"--port={free_port()}", *flags]
    with tempfile.TemporaryDirectory() as jobs:
        environment = {**os.environ, "DDPM_JOBS_FOLDER": jobs}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_dead_engine_is_replaced_and_the_answer_is_the_same(tmp_path: Path) -> None:
    body = {"n": 6, "seed": 9, "steps": 150, "labels": 6}
    with (
        Server(tmp_path / "server.log", engine=REAL) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        expected = server.post("/sample", body).json()["samples"]
        first = server.engine_pid()
        disturbed = pool.submit(server.post, "/sample", body)
        while not read(server)["ddpm_queued_samples",]:
            time.sleep(0.01)
        os.kill(first, signal.SIGKILL)
        assert disturbed.result().json()["samples"] == expected
        assert server.engine_pid() != first


@contextmanager
def few_files(count: int) -> Iterator[None]:
    """What is started in the block may open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connected(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """So many clients that say nothing."""
    with ExitStack() as open_clients:
        address = ("127.0.0.1", server.port)
        yield [
            open_clients.enter_context(socket.create_connection(address, timeout=60))
            for _ in range(count)
        ]


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_without_files_to_start_an_engine_tries_again(tmp_path: Path) -> None:
    with Server(tmp_path / "server.log") as server:
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))  # it has counted on more
        with connected(server, 100):
            eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 64)
            os.kill(server.engine_pid(), signal.SIGKILL)
            refusal = "no engine process can be started: [Errno 24] Too many open files"
            eventually(lambda: server.log.read_text().count(refusal) >= 2)
            assert server.process.poll() is None
        server.wait_ready()
        assert server.post("/sample", {"steps": 2}).status_code == 200


@pytest.mark.slow
def test_connections_leave_a_server_the_files_that_it_needs(tmp_path: Path) -> None:
    with few_files(128):
        started = Server(tmp_path / "server.log")
    with started as server, connected(server, 200) as clients:
        refused = b"".join(iter(lambda: clients[-1].recv(1 << 16), b""))
        assert refused.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert b"Retry-After: 1" in refused and b"too many connections" in refused
        assert server.log.read_text().count("no room for more") == 1
        first = server.engine_pid()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: first not in server.children())
        server.wait_ready()  # by its client's connection, which is there from before
        assert server.engine_pid() != first
        assert "can be started" not in server.log.read_text()
        assert server.post("/sample", {"steps": 2}).status_code == 200


@pytest.mark.slow
def test_a_machine_that_nothing_can_be_written_to_serves(plain: Path, tmp_path: Path) -> None:
    nowhere = "/proc/nowhere"  # not even root can make it
    names = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "DDPM_JOBS_FOLDER")
    with Server(
        tmp_path / "server.log",
        f"--checkpoint={plain}",
        "--runtime=openvino",
        "--max-batch=2",
        engine=REAL,
        variables=dict.fromkeys(names, nowhere),
    ) as server:
        assert server.post("/sample", {"steps": 2}).status_code == 200
        headers = {"Prefer": "respond-async"}
        refused = server.client.post("/sample", json={"steps": 2}, headers=headers)
        assert refused.status_code == 503 and nowhere in refused.json()["detail"]
        log = server.log.read_text()
        assert log.count("folder openvino is not kept") == 1
        assert log.count("folder speed is not kept") == 1


BLIND = """
import sys
from app import cli
from app.pool.watchdog import Watchdog

def look(*_, **__):
    raise ZeroDivisionError("blind")

Watchdog.look = look
fake = [sys.executable, "-m", *sys.argv[1].split()]
sys.exit(cli.serve(["--port=0"], engine_command=fake))
"""
"""A server whose watchdog falls over as soon as there is an engine."""


@pytest.mark.slow
def test_a_server_that_loses_a_part_of_itself_ends_and_names_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BLIND, " ".join(FAKE)],
        env={**os.environ, "DDPM_JOBS_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "ddpm serve: an error in the server: an engine's watchdog ended" in ended.stderr
    assert "ZeroDivisionError: blind" in ended.stderr


@pytest.mark.slow
def test_an_engine_ends_with_its_api_process(plain: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={plain}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags, engine=REAL) as server:
        engine = server.engine_pid()
        server.process.kill()
        server.process.wait()
        for _ in range(100):
            if not is_running(engine):
                return
            time.sleep(0.1)
        raise AssertionError("the engine outlived its API process")


@pytest.mark.slow
def test_sigterm_lets_running_requests_finish(tmp_path: Path) -> None:
    with Server(tmp_path / "server.log") as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, "/sample", {"n": 2, "steps": 200, "seed": 1})
        while not read(server)["ddpm_queued_samples",]:
            time.sleep(0.01)
        assert server.stop() == 0
        assert running.result().status_code == 200


def refusal(checkpoint: Path | str, device: str = "cpu", runtime: str = "eager") -> str:
    """Why an engine cannot start with these options."""
    with pytest.raises((CheckpointError, DeviceError, RuntimeError)) as caught:
        load(Load("", str(checkpoint), "", max_batch=4), Options(device, runtime, threads=1))
    return str(caught.value)


@pytest.mark.slow
def test_a_server_that_can_never_serve_ends_with_the_reason(tmp_path: Path) -> None:
    ended = serve("--checkpoint=nowhere")
    assert ended.returncode == 2
    reason = "no such folder, and not a built-in model (cifar10, emoji, mnist, mnist-linear)"
    assert f"ddpm serve: checkpoint: 'nowhere': {reason}\n" in ended.stderr
    empty = serve(f"--checkpoint={tmp_path}")
    assert empty.returncode == 1
    assert f"ddpm serve: {tmp_path}" in empty.stderr


def test_a_device_that_is_not_there_is_refused_at_the_start() -> None:
    assert "device: 'cuda:7' cannot be used" in refusal("mnist", device="cuda:7")


def test_a_damaged_checkpoint_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert f"{weights}: not a whole safetensors file" in refusal(folder)


def test_a_checkpoint_whose_images_are_no_pictures_is_refused_at_the_start(tmp_path: Path) -> None:
    reason = refusal(save_tiny(tmp_path / "tiny", channels=4))
    assert "in_channels: 4 cannot be served as pictures; it must be 1 (grey) or 3" in reason


def test_a_model_that_makes_no_numbers_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "broken")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["time_embedding.linear_2.bias"][:] = 3e38
    save_file(tensors, weights)
    reason = refusal(folder)
    assert "the model cannot be run: sample" in reason
    assert "is not a number after step 1" in reason


@pytest.mark.slow
def test_a_checkpoint_that_changes_under_a_running_server_ends_it(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    with Server(tmp_path / "server.log", f"--checkpoint={folder}") as server:
        shutil.rmtree(folder)
        save_tiny(folder, channels=3)
        os.kill(server.engine_pid(), signal.SIGKILL)
        assert server.process.wait(60) == 1
        assert "weights have changed on disk" in server.log.read_text()


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (
            ["--device=tpu"],
            {},
            "device: 'tpu': 'tpu' is not auto, cpu, cuda or cuda:N",
        ),
        (["--max-batch=0"], {}, "max_batch: '0': Input should be greater than or equal to 2"),
        ([], {"DDPM_MAX_SAMPLES": "many"}, "max_samples: 'many': Input should be a valid integer"),
        ([], {"DDPM_RUNTIME": "onnx"}, "runtime: 'onnx': Input should be 'auto', 'openvino'"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(
    flags: list[str],
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.serve(flags) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_setting_is_the_exit_status_too() -> None:
    assert serve("--max-batch=0").returncode == 2


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False
