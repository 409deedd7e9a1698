"""What OpenVINO makes of a network is kept, found again only for the same, and never needed."""

import copy
import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openvino
import pytest
import torch

from diffusion.checkpoint import open_checkpoint
from diffusion.config import ProcessConfig
from diffusion.file_cache import FileCache
from diffusion.openvino import cache as cache_module
from diffusion.openvino import model as model_module
from diffusion.openvino.cache import NetworkCache
from diffusion.openvino.model import CompiledModel, converted, examples
from diffusion.openvino.part import Network, Part
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.unet_config import UNetConfig
from tests.tiny import save_tiny

OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where networks are kept in this test."""
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EpsModel:
    folder = tmp_path_factory.mktemp("cache") / "tiny"
    return open_checkpoint(save_tiny(folder, num_classes=3)).eps_model()


class Converter:
    """Converts to a graph as small as can be, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def convert(self, _model: EpsModel) -> Any:
        self.calls += 1
        x = openvino.opset15.parameter([2], name="x")
        return openvino.Model([openvino.opset15.relu(x)], [x])


class Bench:
    """A cache of such a graph, which counts conversions and compilations."""

    def __init__(self, model: EpsModel, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.converter = Converter()
        self.compilations = 0

    def network(
        self, model: EpsModel | None = None, variant: str = "", **options: object
    ) -> Network:
        """As a process does that has just started."""
        cache = NetworkCache(model or self.model, self.converter.convert, FileCache(self.folder))

        def make() -> Any:
            self.compilations += 1
            return cache.graph()

        inputs = [torch.tensor([-1.0, 2.0])]
        (network,) = cache.compiled(1, inputs, OPTIONS | options, make, variant)
        part = Part(network)
        part.fill(inputs)
        part.run()
        assert part.output.tolist() == [0.0, 2.0]
        return network

    def files(self, kind: str) -> list[Path]:
        return list(self.folder.glob(f"*.{kind}"))


@pytest.fixture
def bench(model: EpsModel, folder: Path) -> Bench:
    return Bench(model, folder)


def other_weights(model: EpsModel) -> EpsModel:
    other = copy.deepcopy(model)
    other.unet.conv_out.weight.data[0, 0, 0, 0] += 1e-6
    return other


def other_prediction(model: EpsModel) -> EpsModel:
    other = copy.deepcopy(model)
    other.prediction = "v"
    return other


def other_process(model: EpsModel) -> EpsModel:
    return EpsModel(model.unet, Process.from_config(ProcessConfig(60)), model.prediction)


def other_function(model: EpsModel) -> EpsModel:
    """The same weights in a network that computes something else with them."""
    other, config = copy.deepcopy(model), model.config
    assert isinstance(config, UNetConfig)
    other.unet.config = dataclasses.replace(config, freq_shift=1 - config.freq_shift)
    return other


@pytest.mark.slow
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2], indirect=True)
def test_a_network_that_is_kept_gives_the_bytes_of_a_fresh_one(
    threads: int, tmp_path: Path, model: EpsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = examples(model, 8)
    fresh = CompiledModel(model, threads, cache="")
    expected = {size: fresh(*(column[:size] for column in rows)) for size in (1, 3, 8)}
    written = CompiledModel(model, threads, cache=str(tmp_path))
    for size, eps_hat in expected.items():
        assert torch.equal(written(*(column[:size] for column in rows)), eps_hat), size

    def convert_again(_model: EpsModel) -> Any:
        raise AssertionError("it is kept")

    convert_again.__module__ = converted.__module__
    monkeypatch.setattr(model_module, "converted", convert_again)
    kept = CompiledModel(model, threads, cache=str(tmp_path))
    for size, eps_hat in expected.items():
        assert torch.equal(kept(*(column[:size] for column in rows)), eps_hat), size


def test_the_same_network_is_converted_and_compiled_once(bench: Bench) -> None:
    for _ in range(3):
        bench.network(copy.deepcopy(bench.model))
    assert (bench.converter.calls, bench.compilations) == (1, 1)
    assert len(bench.files("graph")) == len(bench.files("compiled")) == 1


@pytest.mark.parametrize("other", [other_weights, other_prediction, other_process, other_function])
def test_another_network_is_never_taken_for_it(
    other: Callable[[EpsModel], EpsModel], bench: Bench
) -> None:
    for network in (bench.model, other(bench.model), bench.model):
        bench.network(network)
    assert (bench.converter.calls, bench.compilations) == (2, 2)


@pytest.mark.parametrize("version", ["torch.__version__", "openvino.__version__"])
def test_another_version_of_a_library_makes_it_anew(
    version: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.network()
    monkeypatch.setattr(version, "99.0")
    bench.network()
    assert (bench.converter.calls, bench.compilations) == (2, 2)


def test_another_processor_makes_it_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.network()
    monkeypatch.setattr(cache_module, "describe_processor", lambda: "another")
    bench.network()
    assert (bench.converter.calls, bench.compilations) == (2, 2)


@pytest.mark.parametrize("other", [{"NUM_STREAMS": 2}, {"variant": "another"}])
def test_another_way_to_compile_it_compiles_the_same_graph(
    other: dict[str, Any], bench: Bench
) -> None:
    bench.network()
    bench.network(**other)
    assert (bench.converter.calls, bench.compilations) == (1, 2)


def test_threads_that_need_the_graph_at_once_get_copies_of_one(bench: Bench) -> None:
    cache = NetworkCache(bench.model, bench.converter.convert, FileCache(bench.folder))
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda _: cache.graph(), range(8)))
    assert bench.converter.calls == 1
    for graph, rows in zip(graphs, range(1, 9), strict=True):
        graph.reshape([rows])
    assert [list(graph.output(0).shape) for graph in graphs] == [[rows] for rows in range(1, 9)]


def test_several_networks_share_one_file(bench: Bench, model: EpsModel, folder: Path) -> None:
    cache = NetworkCache(model, bench.converter.convert, FileCache(folder))
    for _ in range(2):
        networks = cache.compiled(3, [torch.ones(2)], OPTIONS, cache.graph, "")
        assert len({id(network.compiled) for network in networks}) == 3
    assert len(bench.files("compiled")) == 1


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's content, and its SHA-256 with it."""
    FileCache(path.parent).write(path.name, change(path.read_bytes()[64:]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda content: b"0" * 64 + content[64:],
    ],
    ids=["truncated", "empty", "other bytes than before"],
)
def test_a_compiled_network_that_is_not_the_one_that_was_kept_is_compiled_anew(
    damage: Callable[[bytes], bytes], bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.network()
    (file,) = bench.files("compiled")
    rewrite(file, damage)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            bench.network()
    assert [f"{file} is damaged" in record.message for record in caplog.records] == [True]
    assert (bench.converter.calls, bench.compilations) == (1, 2)


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"?" * 99]
)
def test_a_damaged_graph_is_converted_anew(damage: Callable[[bytes], bytes], bench: Bench) -> None:
    bench.network()
    (graph,), (compiled,) = bench.files("graph"), bench.files("compiled")
    for _ in range(2):
        compiled.unlink()
        bench.network()
    assert bench.converter.calls == 1
    rewrite(graph, damage)
    for _ in range(2):
        compiled.unlink()
        bench.network()
    assert bench.converter.calls == 2


def test_without_a_place_to_write_it_is_made_every_time(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.folder.parent.mkdir(parents=True)
    bench.folder.write_text("a file where the folder should be")
    for starts in (1, 2):
        bench.network()
        assert (bench.converter.calls, bench.compilations) == (starts, starts)
        assert len(caplog.records) == starts, "each start says so once"
    assert all("is not kept" in record.message for record in caplog.records)


def test_a_disk_that_fills_up_leaves_no_part_of_a_graph(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_graph: Any, path: Path, **_options: Any) -> None:
        path.write_text("half of")
        raise RuntimeError("iostream error")

    monkeypatch.setattr(openvino, "save_model", full)
    bench.network()
    assert [path.suffix for path in bench.folder.iterdir()] == [".compiled"]
