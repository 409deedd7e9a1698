"""Weights are checked by their headers, and read as float32 under the names of today."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.checkpoint import WEIGHTS, Checkpoint, CheckpointError, WithoutInit, open_checkpoint
from diffusion.checkpoint.weight_files import find_weights
from diffusion.checkpoint.weights import Header, check_weights, read_weights
from tests.diffusion.checkpoint.folders import refused
from tests.tiny import save_tiny


def output(checkpoint: Checkpoint) -> torch.Tensor:
    x_t = torch.linspace(-1, 1, 128).reshape(2, *checkpoint.unet.image_shape)
    made: torch.Tensor = checkpoint.load()(x_t, torch.tensor([0, 40]))
    return made


def test_old_attention_names_load_too(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    expected = output(open_checkpoint(folder))
    weights = folder / "unet" / WEIGHTS
    renamed = {}
    for name, tensor in load_file(weights).items():
        for new, old in (
            ("to_q", "query"),
            ("to_k", "key"),
            ("to_v", "value"),
            ("to_out.0", "proj_attn"),
        ):
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = tensor
    assert any("proj_attn" in name for name in renamed)
    save_file(renamed, weights)
    assert torch.equal(output(open_checkpoint(folder)), expected)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float64, "F64")],
    ids=str,
)
def test_halves_and_doubles_become_float32(folder: Path, dtype: torch.dtype, name: str) -> None:
    path = folder / "unet" / WEIGHTS
    save_file({k: v.to(dtype) for k, v in load_file(path).items()}, path)
    opened = open_checkpoint(folder)
    assert opened.header.dtypes == (name,)
    assert {p.dtype for p in opened.load().parameters()} == {torch.float32}


def test_a_tensor_under_both_its_names_is_refused(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    tensors = load_file(file)
    old, new = (f"mid_block.attentions.0.{name}.weight" for name in ("query", "to_q"))
    save_file({**tensors, old: 2 * tensors[new]}, file)
    assert f"{WEIGHTS}: tensor {new} is there twice" in str(refused(folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_weights_that_are_no_numbers_are_not_loaded(folder: Path, dtype: torch.dtype) -> None:
    file = folder / "unet" / WEIGHTS
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    tensors["conv_in.bias"][0] = 1e39 if dtype == torch.float64 else torch.inf
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"tensor conv_in\.bias has numbers that are not fin"):
        open_checkpoint(folder).load()


def test_quantised_weights_are_refused(folder: Path) -> None:
    path = folder / "unet" / WEIGHTS
    state = load_file(path)
    save_file({**state, "conv_in.weight": state["conv_in.weight"].to(torch.int8)}, path)
    assert "tensor conv_in.weight is of type I8, not of one of F64, F32, F16, BF16" in str(
        refused(folder)
    )


def test_the_headers_tell_the_parameters_and_their_types(folder: Path) -> None:
    files, network = find_weights(folder / "unet"), open_checkpoint(folder)
    parameters = sum(p.numel() for p in network.load().parameters())
    assert check_weights(files, network.unet) == Header(parameters, ("F32",))
    path = folder / "unet" / WEIGHTS
    state = load_file(path)
    save_file({**state, "conv_in.bias": state["conv_in.bias"].half()}, path)
    assert check_weights(files, network.unet) == Header(parameters, ("F16", "F32"))


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    state = load_file(folder / "unet" / WEIGHTS)
    found = read_weights(find_weights(folder / "unet"))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_layers_are_made_without_drawing_their_weights() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with WithoutInit():
        layer = torch.nn.Linear(3, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.shape == (2, 3) and layer.weight.requires_grad
    torch.nn.Linear(3, 2)
    assert not torch.equal(torch.get_rng_state(), before), "outside, they are drawn"
