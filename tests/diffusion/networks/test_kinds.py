"""Networks that diffusers has no class for go through the package as a UNet2DModel does."""

import json
from pathlib import Path

import pytest
import torch

from app.cli import main
from diffusion.bfloat16 import in_bfloat16
from diffusion.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from diffusion.networks.registry import KINDS, kind_of
from diffusion.sampling import Request, Source, generate
from tests.diffusion.networks.conftest import CONFIGS
from tests.processor import needs_bfloat16


def test_every_kind_but_diffusers_own_is_tested_here() -> None:
    assert set(CONFIGS) == {name for name, kind in KINDS.items() if not kind.is_diffusers}


def test_it_is_opened_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert checkpoint.unet == CONFIGS[checkpoint.name]
    assert kind_of(checkpoint.load().config).name == checkpoint.name


def test_an_export_is_the_same_model_and_says_that_diffusers_has_no_such_network(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(checkpoint.folder), str(tmp_path / "copy")]) == 0
    assert f"diffusers has no {checkpoint.name}" in capsys.readouterr().out
    copy = open_checkpoint(tmp_path / "copy")
    assert copy.fingerprint == checkpoint.fingerprint
    weights = copy.load().state_dict()
    for name, tensor in checkpoint.load().state_dict().items():
        assert torch.equal(weights[name], tensor)
    index = json.loads((tmp_path / "copy" / "model_index.json").read_text())
    assert index["unet"] == ["diffusion", checkpoint.name]


@pytest.mark.slow
def test_openvino_makes_the_samples_of_pytorch_nearly(checkpoint: Checkpoint) -> None:
    pytest.importorskip("openvino")
    eager = Source.open(checkpoint.folder, "cpu", "eager")
    compiled = Source.open(checkpoint.folder, "cpu", "openvino")
    labels = [0] if checkpoint.unet.num_class_embeds else None
    request = Request(seed=1, n=3, labels=labels, sampler="ddim", num_steps=3)
    made, expected = generate(compiled, request), generate(eager, request)
    torch.testing.assert_close(made, expected, rtol=0, atol=5e-3)


@pytest.mark.slow
@needs_bfloat16
def test_openvino_computes_it_in_bfloat16(checkpoint: Checkpoint) -> None:
    pytest.importorskip("openvino")
    from diffusion.openvino.model import CompiledModel, examples

    model = checkpoint.eps_model()
    rows = examples(model, 4)
    compiled = CompiledModel(model, 2, "bfloat16", cache="")
    assert compiled.precision == "bfloat16"
    assert 0 < (compiled(*rows) - model(*rows)).square().mean().sqrt() < 0.02


def test_in_bfloat16_its_first_layers_and_the_time_embedding_stay_float32(
    checkpoint: Checkpoint, images: torch.Tensor
) -> None:
    model = checkpoint.eps_model()
    half = in_bfloat16(model)
    layers = {
        name: module.weight.dtype
        for name, module in half.unet.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    }
    kept = {name for name, dtype in layers.items() if dtype == torch.float32}
    of_time = ("mlp", "map_", "affine", "time_emb")
    assert len([name for name in kept if not any(part in name for part in of_time)]) == 2
    assert len(kept) < len(layers)
    t = torch.tensor([0, 9, 30, 49])
    label = None if checkpoint.unet.num_class_embeds is None else torch.tensor([0, 1, 2, 0])
    exact = model(images, t, label)
    error = (half(images, t, label) - exact).square().mean().sqrt()
    assert 0 < error < 0.05 * exact.square().mean().sqrt()


def test_it_is_not_trained(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('data = "mnist"\n[unet]\npreset = "small"\n[training]\nnum_steps = 1\n')
    given = ["train", str(config), "--out", str(tmp_path / "run")]
    assert main([*given, "--start", str(checkpoint.folder)]) == 2
    assert f"its network is a {checkpoint.name}, which can be sampled" in capsys.readouterr().err


def test_a_chain_longer_than_its_tables_is_refused(checkpoint: Checkpoint) -> None:
    if checkpoint.unet.max_timesteps is None:
        pytest.skip("it has no tables")
    config = checkpoint.folder / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"num_train_timesteps": 49}))
    with pytest.raises(CheckpointError, match="num_train_timesteps: 49"):
        open_checkpoint(checkpoint.folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_field_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    other = "label_dim" if name == "ADMUNet" else "block_out_channels"
    fields = {"_class_name": name, other: [8]}
    (tmp_path / "unet" / "config.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=f"{other}: not a field of .* {name}"):
        open_checkpoint(tmp_path)
