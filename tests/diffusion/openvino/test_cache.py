"""Converted networks are kept, found again only for the same network, and never needed."""

import copy
import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import pytest
import torch

from diffusion.checkpoint import open_checkpoint
from diffusion.config import ProcessConfig
from diffusion.openvino import cache
from diffusion.openvino import model as compiled_module
from diffusion.openvino.cache import load_or_convert
from diffusion.openvino.model import CompiledModel, converted, examples
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from tests.tiny import save_tiny


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where networks are kept in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ddpm" / "openvino"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EpsModel:
    folder = tmp_path_factory.mktemp("cache") / "tiny"
    return open_checkpoint(save_tiny(folder, num_classes=3)).eps_model()


@pytest.fixture(scope="module")
def graph(model: EpsModel) -> Any:
    """A fresh conversion."""
    return converted(model)


class Converter:
    """Converts to a graph as small as can be, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def convert(self, _model: EpsModel) -> Any:
        self.calls += 1
        x = openvino.opset15.parameter([1], name="x")
        return openvino.Model([openvino.opset15.relu(x)], [x])


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
    other = copy.deepcopy(model)
    other.unet.config = dataclasses.replace(model.config, freq_shift=1 - model.config.freq_shift)
    return other


def test_a_network_that_is_kept_gives_the_bytes_of_a_fresh_conversion(
    threads: int, folder: Path, model: EpsModel, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversions = [graph]
    monkeypatch.setattr(compiled_module, "converted", lambda _model: conversions.pop())
    fresh = CompiledModel(model, threads)
    assert not conversions and len(list(folder.iterdir())) == 1
    kept = CompiledModel(model, threads)
    rows = examples(model, 8)
    for size in (1, 3, 8):
        first = [column[:size] for column in rows]
        assert torch.equal(kept(*first), fresh(*first)), size


def test_the_same_network_is_converted_once(folder: Path, model: EpsModel) -> None:
    converter = Converter()
    for _ in range(3):
        graph = load_or_convert(copy.deepcopy(model), converter.convert)
        assert [node.get_type_name() for node in graph.get_ordered_ops()][1] == "Relu"
    assert converter.calls == 1
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("other", [other_weights, other_prediction, other_process, other_function])
def test_another_network_is_never_taken_for_it(
    other: Callable[[EpsModel], EpsModel], folder: Path, model: EpsModel
) -> None:
    converter = Converter()
    for network in (model, other(model), model):
        load_or_convert(network, converter.convert)
    assert converter.calls == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("version", ["torch.__version__", "openvino.__version__"])
def test_another_version_of_a_library_converts_anew(
    version: str, folder: Path, model: EpsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter = Converter()
    load_or_convert(model, converter.convert)
    monkeypatch.setattr(version, "99.0")
    load_or_convert(model, converter.convert)
    assert converter.calls == len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda _content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["truncated", "no header", "empty", "one bit"],
)
def test_a_damaged_file_is_written_anew(
    damage: Callable[[bytes], bytes],
    folder: Path,
    model: EpsModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    converter = Converter()
    load_or_convert(model, converter.convert)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            load_or_convert(model, converter.convert)
    assert [f"{file} is damaged" in record.message for record in caplog.records] == [True]
    assert converter.calls == 2


def test_without_a_place_to_write_it_is_converted_every_time(
    folder: Path, model: EpsModel, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    converter = Converter()
    with caplog.at_level(logging.INFO, "ddpm.openvino"):
        for _ in range(2):
            assert load_or_convert(model, converter.convert) is not None
    assert converter.calls == 2
    assert len(caplog.records) == 2
    assert all("is not kept" in record.message for record in caplog.records)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_for_a_user_without_a_home_it_is_converted_with_one_warning(
    model: EpsModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown() -> Path:  # of a user in no list of users, without $HOME
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with caplog.at_level(logging.INFO, "ddpm.openvino"):
        assert load_or_convert(model, Converter().convert) is not None
    (line,) = caplog.records
    assert "Could not determine home directory" in line.message
    assert "XDG_CACHE_HOME" in line.message


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(
    folder: Path, model: EpsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_graph: Any, path: Path, **_options: Any) -> None:
        path.write_text("half of")
        raise RuntimeError("iostream error")

    monkeypatch.setattr(openvino, "save_model", full)
    assert load_or_convert(model, Converter().convert) is not None
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_BYTES"])
def test_the_networks_used_last_are_kept(
    limit: str, folder: Path, model: EpsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter = Converter()
    networks = [other_process(model), other_weights(model), other_function(model), model]
    files: dict[int, Path] = {}
    for age, network in enumerate(networks[:3]):
        load_or_convert(network, converter.convert)
        (new,) = set(folder.iterdir()) - set(files.values())
        os.utime(new, (age, age))
        files[age] = new
    load_or_convert(networks[0], converter.convert)  # the oldest is used again
    size = files[0].stat().st_size
    monkeypatch.setattr(cache, limit, {"MAX_FILES": 3, "MAX_BYTES": 3 * size + size // 2}[limit])
    load_or_convert(networks[3], converter.convert)
    left = set(folder.iterdir())
    assert len(left) == 3 and files[0] in left and files[1] not in left
