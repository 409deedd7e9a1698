"""A real server on a GPU: what is promised of a CPU's holds there."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.app.routes.test_generation import MIXED, decoded, pngs
from tests.app.server import REAL, Server
from tests.conftest import ServerFor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
BODY = {"n": 3, "seed": 1, "sampler": "ddim", "steps": 20, "labels": [3, 1, 4]}


@pytest.fixture(scope="module")
def gpu(server_for: ServerFor) -> Server:
    return server_for("--device=cuda", "--max-batch=16", engine=REAL)


def test_a_gpu_is_served_from_by_slots(gpu: Server) -> None:
    model = gpu.client.get("/model").json()
    assert (model["runtime"], model["device"]) == ("slots", "cuda")
    assert model["batch_invariant"]


def test_the_same_request_gives_the_same_bytes_whatever_else_runs(gpu: Server) -> None:
    alone = pngs(gpu.post("/sample", BODY).json())
    others = [{**MIXED[i % len(MIXED)], "seed": i} for i in range(30)]
    with ThreadPoolExecutor(40) as pool:
        neighbours = [pool.submit(gpu.post, "/sample", other) for other in others]
        beside = [pool.submit(gpu.post, "/sample", BODY) for _ in range(5)]
        for answer in beside:
            assert pngs(answer.result().json()) == alone
        assert all(neighbour.result().status_code == 200 for neighbour in neighbours)


@pytest.mark.parametrize(("runtime", "max_batch"), [("eager", 16), ("cuda-graph", 32)])
def test_all_runtimes_give_the_same_bytes_there(
    gpu: Server, tmp_path: Path, runtime: str, max_batch: int
) -> None:
    """cuda-graph has half of the rows on each of two lanes."""
    flags = ["--device=cuda", f"--runtime={runtime}", f"--max-batch={max_batch}"]
    with Server(tmp_path / "log", *flags, engine=REAL) as other:
        assert pngs(other.post("/sample", BODY).json()) == pngs(gpu.post("/sample", BODY).json())


def test_without_a_largest_batch_a_gpu_chooses_one(tmp_path: Path) -> None:
    with Server(tmp_path / "log", "--device=cuda", engine=REAL) as server:
        (size,) = server.client.get("/model").json()["batch_sizes"]
        assert 16 <= size <= 1024


def test_a_gpu_shows_what_a_cpu_shows(gpu: Server, tmp_path: Path) -> None:
    """The same noise and update to the byte, the network to its rounding."""
    with Server(tmp_path / "log", "--device=cpu", engine=REAL) as cpu:
        answers = [pngs(server.post("/sample", BODY).json()) for server in (gpu, cpu)]
    for on_gpu, on_cpu in zip(*answers, strict=True):
        difference = np.abs(decoded(on_gpu).astype(int) - decoded(on_cpu))
        assert difference.mean() < 1


def test_trajectories_end_in_the_sample(gpu: Server) -> None:
    answer = gpu.post("/denoise-trajectory", {**BODY, "frames": 5}).json()
    last = [trajectory["frames"][-1]["x_t"] for trajectory in answer["trajectories"]]
    assert [base64.b64decode(png) for png in last] == pngs(gpu.post("/sample", BODY).json())
