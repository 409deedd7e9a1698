"""The compiled network computes what the network does."""

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openvino
import pytest
import torch
from openvino import opset15

from diffusion.checkpoint import open_checkpoint
from diffusion.config import ProcessConfig
from diffusion.fields import from_dict
from diffusion.openvino import model as compiled_module
from diffusion.openvino.model import CompiledModel, examples, parts_of
from diffusion.openvino.part import Part
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig
from tests.processor import needs_bfloat16
from tests.tiny import save_tiny
from tests.unet_configs import network_fields


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [None, 3])
def test_batches_of_any_size_give_what_the_network_gives(
    num_classes: int | None, threads: int, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny", num_classes=num_classes, channels=3)
    model = open_checkpoint(folder).eps_model()
    compiled = CompiledModel(model, threads)
    rows = examples(model, 10)
    expected = model(*rows)
    for size in (1, 3, 8, 10):
        first = [column[:size] for column in rows]
        made = compiled(*first)
        torch.testing.assert_close(made, expected[:size], atol=1e-5, rtol=1e-5)
        assert torch.equal(compiled(*first), made)


SLOW_KINDS = [(1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "seed"),
    [(0, 0), *(pytest.param(*kind, marks=pytest.mark.slow) for kind in SLOW_KINDS)],
)
def test_networks_of_any_kind_are_converted(family: int, seed: int) -> None:
    torch.manual_seed(seed)
    # OpenVINO 2026.4 compiles mish for some shapes only
    fields = network_fields(seed, family) | {"act_fn": "gelu", "class_embed_type": None}
    config = from_dict(UNetConfig, fields)
    process = Process.from_config(ProcessConfig(config.num_train_timesteps or 50))
    model = EpsModel(UNet(config), process, "eps").eval().requires_grad_(False)
    compiled = CompiledModel(model, 2, cache="")
    rows = examples(model, 4)
    expected = model(*rows)
    for size in (1, 3, 4):
        made = compiled(*(column[:size] for column in rows))
        torch.testing.assert_close(made, expected[:size], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_where_merged_norms_are_wrong_the_network_is_compiled_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(graph: Any) -> None:
        for node in graph.get_ops():
            if node.get_type_name() == "GroupNormalization":
                openvino.utils.replace_node(node, opset15.relu(node.input_value(0)))

    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    rows = examples(model, 4)
    monkeypatch.setattr(compiled_module, "merge_norms", mistaken)
    compiled = CompiledModel(model, 1, cache="")  # what is mistaken is not kept for other tests
    torch.testing.assert_close(compiled(*rows), model(*rows), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_graph_that_computes_something_else_in_every_form_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    convert = compiled_module.converted
    monkeypatch.setattr(compiled_module, "converted", lambda _: convert(other))
    CompiledModel(model, 1, cache="")
    assert "OpenVINO's eps_hat is more than 0.001 from PyTorch's" in caplog.text


def rms(made: torch.Tensor, expected: torch.Tensor) -> float:
    return float((made - expected).square().mean().sqrt())


@pytest.mark.slow
@needs_bfloat16
def test_in_bfloat16_it_gives_nearly_what_the_network_gives(threads: int, tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny", num_classes=3, channels=3)).eps_model()
    compiled = CompiledModel(model, threads, "bfloat16")
    rows = examples(model, 4)
    assert compiled.precision == "bfloat16"
    assert 0 < rms(compiled(*rows), model(*rows)) < compiled_module.MAX_RMS


@pytest.mark.slow
def test_without_bfloat16_the_network_is_compiled_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    monkeypatch.setattr(compiled_module, "has_bfloat16", lambda _: False)
    assert CompiledModel(model, 1, "bfloat16").precision == "float32"


@pytest.mark.slow
def test_bfloat16_that_is_too_far_from_float32_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    rows = examples(model, 4)
    monkeypatch.setattr(compiled_module, "MAX_RMS", 1e-9)
    compiled = CompiledModel(model, 1, "bfloat16")
    assert compiled.precision == "float32"
    torch.testing.assert_close(compiled(*rows), model(*rows), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_network_that_cannot_be_compiled_in_bfloat16_is_compiled_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> Any:
        raise RuntimeError("object is not initialized")

    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    monkeypatch.setattr(compiled_module, "keep_first_layers", refuse)
    assert CompiledModel(model, 1, "bfloat16", cache="").precision == "float32"


@pytest.mark.slow
def test_batches_on_lanes_have_the_bytes_of_parts_of_larger_ones(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    compiled = CompiledModel(model, threads=2)
    rows = examples(model, 8)
    expected = {size: compiled(*(column[:size] for column in rows)) for size in (2, 4, 8)}

    def drive(lane: int) -> None:
        """Batches of several sizes, whatever the other lane does."""
        for size in (8, 2, 8, 4) * 5:
            part = slice(size // 2 * lane, size // 2 * (lane + 1))
            made = compiled.run(lane, *(column[part] for column in rows))
            assert torch.equal(made, expected[size][part])

    with ThreadPoolExecutor(compiled.num_lanes) as pool:
        list(pool.map(drive, range(compiled.num_lanes)))


def test_sizes_that_are_kept_give_the_same_bytes(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    compiled = CompiledModel(model, threads=2)
    rows = examples(model, 8)
    expected = compiled(*rows)
    compiled.keep((1, 4))
    for size in (4, 1, 8):
        assert torch.equal(compiled(*(column[:size] for column in rows)), expected[:size])


def test_sizes_that_are_prepared_at_once_are_compiled_once_and_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    alone, together = (CompiledModel(model, threads=2, cache="") for _ in range(2))
    compile_size, compiled = together._compile, list[int]()

    def noted(size: int) -> list[Part]:
        compiled.append(size)
        return compile_size(size)

    monkeypatch.setattr(together, "_compile", noted)
    together.prepare((1, 4, 8))
    for size in (8, 1, 4):
        rows = examples(model, size)
        assert torch.equal(together(*rows), alone(*rows))
    assert sorted(compiled) == [1, 4, 8]


def test_whoever_asks_for_a_size_that_cannot_be_prepared_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    compiled = CompiledModel(model, threads=2)

    def refuse(_size: int) -> list[Part]:
        raise RuntimeError("no memory")

    monkeypatch.setattr(compiled, "_compile", refuse)
    compiled.prepare((4,))
    with pytest.raises(RuntimeError, match="no memory"):
        compiled(*examples(model, 4))


def test_the_network_is_traced_once(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    calls: list[torch.nn.Module] = []
    model.register_forward_pre_hook(lambda module, _inputs: calls.append(module))
    compiled_module.converted(model)
    assert len(calls) == 1


def test_there_are_as_many_lanes_as_threads_but_two_at_most(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()
    assert [CompiledModel(model, threads).num_lanes for threads in (1, 2, 5)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("size", "threads", "parts"),
    [(1, 2, 1), (2, 2, 2), (8, 2, 2), (8, 16, 8), (8, 6, 4), (12, 8, 4), (33, 2, 1), (8, 1, 1)],
)
def test_a_batch_is_split_evenly_among_the_threads(size: int, threads: int, parts: int) -> None:
    assert parts_of(size, threads) == parts
