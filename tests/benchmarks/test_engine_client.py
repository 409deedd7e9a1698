"""An engine without a server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.wire.options import Options
from benchmarks import networks
from benchmarks.contenders import CONTENDERS, Setting
from benchmarks.engine_client import EngineClient

OPTIONS = Options("cpu", "eager", threads=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> networks.Network:
    return networks.tiny(tmp_path_factory.mktemp("network") / "tiny")


@pytest.fixture(scope="module")
def engine(network: networks.Network) -> Iterator[EngineClient]:
    with EngineClient(OPTIONS, network.folder, max_batch=4) as client:
        yield client


@pytest.mark.slow
def test_jobs_are_timed_from_their_submission(engine: EngineClient) -> None:
    long, short = engine.submit(6, steps=40, client="a"), engine.submit(1, steps=2, client="b")
    engine.wait(short)
    assert 0 < short.seconds
    engine.wait(long)
    assert long.seconds > short.seconds
    assert sorted(long.images) == list(range(6))
    assert engine.model.parameters > 0


def test_its_images_are_those_of_the_same_runtime_without_an_engine(
    engine: EngineClient, network: networks.Network
) -> None:
    setting = Setting(network, "float32", torch.device("cpu"), threads=1, max_batch=4)
    with contextlib.ExitStack() as stack:
        bare = CONTENDERS["eager"].make(setting, stack)(4, 5)
    job = engine.submit(4, steps=5)
    engine.wait(job)
    assert [job.images[i] for i in range(4)] == [row.numpy().tobytes() for row in bare]


def test_a_job_that_fails_says_why(engine: EngineClient) -> None:
    with pytest.raises(RuntimeError, match="job .* has failed: steps"):
        engine.wait(engine.submit(1, steps=10**6))


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the model cannot be loaded: .*nowhere"):
        EngineClient(OPTIONS, str(tmp_path / "nowhere"))
