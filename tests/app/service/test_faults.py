"""Start-up failures, dying engines, shutting down: on real processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.app.server import Server, free_port
from tests.tiny import save_tiny


def serve(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`ddpm serve` with settings that cannot work: it must end by itself."""
    command = [sys.executable, "-m", "app.cli", "serve", f"--port={free_port()}", *flags]
    with tempfile.TemporaryDirectory() as jobs:
        environment = {"DDPM_JOBS_FOLDER": jobs, **environment}
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
        )


def test_a_dead_engine_is_replaced_and_the_answer_is_the_same(tmp_path: Path) -> None:
    body = {"n": 6, "seed": 9, "steps": 150, "labels": 6}
    with Server(tmp_path / "server.log") as server, ThreadPoolExecutor(1) as pool:
        expected = server.post("/sample", body).json()["samples"]
        first = server.engine_pid()
        disturbed = pool.submit(server.post, "/sample", body)
        time.sleep(0.3)
        os.kill(first, signal.SIGKILL)
        assert disturbed.result().json()["samples"] == expected
        assert server.engine_pid() != first


def test_an_engine_ends_with_its_api_process(tmp_path: Path) -> None:
    flags = [f"--checkpoint={save_tiny(tmp_path / 'tiny')}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
        engine = server.engine_pid()
        server.process.kill()
        server.process.wait()
        for _ in range(100):
            if not is_running(engine):
                return
            time.sleep(0.1)
        raise AssertionError("the engine outlived its API process")


def test_sigterm_lets_running_requests_finish(tmp_path: Path) -> None:
    with Server(tmp_path / "server.log") as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, "/sample", {"n": 2, "steps": 200, "seed": 1})
        time.sleep(0.3)
        assert server.stop() == 0
        assert running.result().status_code == 200


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--checkpoint=nowhere"],
            "nowhere: no such folder, and not a built-in model (cifar10, mnist)",
        ),
        (["--device=cuda:7"], "device: 'cuda:7' cannot be used"),
    ],
)
def test_a_server_that_can_never_serve_ends_with_the_reason(flags: list[str], message: str) -> None:
    ended = serve(*flags)
    assert ended.returncode == 1
    assert message in ended.stderr


def test_a_damaged_checkpoint_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ended = serve(f"--checkpoint={folder}")
    assert ended.returncode == 1
    assert f"{weights}: not a whole safetensors file" in ended.stderr


def test_a_checkpoint_whose_images_are_no_pictures_is_refused_at_the_start(tmp_path: Path) -> None:
    ended = serve(f"--checkpoint={save_tiny(tmp_path / 'tiny', channels=4)}")
    assert ended.returncode == 1
    assert "in_channels: 4 cannot be served as pictures; it must be 1 (grey) or 3" in ended.stderr


def test_a_model_that_makes_no_numbers_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "broken")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(weights), "conv_out.bias": torch.full((1,), torch.nan)}, weights)
    ended = serve(f"--checkpoint={folder}", "--runtime=eager")
    assert ended.returncode == 1
    assert "ddpm serve: the model cannot be run: sample" in ended.stderr
    assert "is not a number after step 1" in ended.stderr


def test_a_checkpoint_that_changes_under_a_running_server_ends_it(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    flags = [f"--checkpoint={folder}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
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
    flags: list[str], environment: dict[str, str], message: str
) -> None:
    ended = serve(*flags, **environment)
    assert ended.returncode == 2
    assert message in ended.stderr


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False
