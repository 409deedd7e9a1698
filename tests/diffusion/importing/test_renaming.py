"""Tensors put in other places: matrices, what is split, and what does not fit."""

import pytest
import torch
from torch import Tensor

from diffusion.checkpoint import shapes
from diffusion.importing.errors import ForeignError
from diffusion.importing.renaming import Table, layer, rename
from tests.diffusion.importing.test_project import CONFIG

TABLE: Table = {"w": ("ours.w",), "qk": ("ours.q", "ours.k")}
SHAPES = {"ours.w": (2, 3), "ours.q": (1, 4), "ours.k": (1, 4)}


def rows(tensor: Tensor) -> tuple[Tensor, ...]:
    return tensor[:1], tensor[1:]


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return rename(tensors, TABLE, SHAPES, lambda name: f" ({name})", rows)


def test_a_layer_has_a_weight_and_a_bias() -> None:
    expected = {"a.weight": ("b.weight", "c.weight"), "a.bias": ("b.bias", "c.bias")}
    assert layer("a", "b", "c") == expected


def test_shapes_are_those_of_the_network() -> None:
    found = shapes(CONFIG)
    assert found["conv_in.weight"] == (8, 3, 3, 3)
    assert found["conv_out.bias"] == (3,)


def test_convolutions_of_size_1_become_matrices_and_parts_are_split() -> None:
    w, qk = torch.arange(6.0), torch.arange(8.0)
    made = renamed({"w": w.reshape(2, 3, 1, 1), "qk": qk.reshape(2, 4, 1)})
    expected = {"ours.w": w.reshape(2, 3), "ours.q": qk[None, :4], "ours.k": qk[None, 4:]}
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": None}, r"tensor w is missing \(w\)"),
        ({"x": torch.ones(1)}, r"tensor x has no place in the network \(x\)"),
        (
            {"w": torch.ones(3, 2)},
            r"w has shape \(3, 2\) of torch.float32, not \(2, 3\) of fl.* \(w\)",
        ),
        ({"w": torch.ones(2, 3, 3, 3)}, r"w has shape \(2, 3, 3, 3\)"),
        ({"w": torch.ones(())}, r"w has shape \(\)"),
        ({"w": torch.ones(2, 3).int()}, r"w has shape \(2, 3\) of torch.int32"),
        ({"w": torch.full((2, 3), torch.nan)}, "w has numbers that are not finite"),
        ({"qk": torch.ones(3, 4)}, r"qk has shape \(3, 4\) of torch.float32, not \(2, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(
    change: dict[str, Tensor | None], message: str
) -> None:
    tensors = {"w": torch.ones(2, 3), "qk": torch.ones(2, 4), **change}
    with pytest.raises(ForeignError, match=message):
        renamed({name: tensor for name, tensor in tensors.items() if tensor is not None})
