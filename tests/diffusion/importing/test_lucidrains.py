"""lucidrains/denoising-diffusion-pytorch: the same outputs here as there, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.cli import main
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.networks.lucidrains import LucidrainsUnet
from diffusion.noise import normal
from diffusion.sampling import Request, Source, generate
from tests.diffusion.importing import lucidrains_network as theirs
from tests.diffusion.importing.lucidrains_network import Shape, Weights

SHAPES = {
    "from 2.0.0 on": Shape(),
    "four levels": Shape(dim=8, init_dim=8, mults=(1, 2, 4, 8), full=(False, False, False, True)),
    "another first width": Shape(init_dim=24, heads=2, head_dim=16),
    "full attention at the top": Shape(full=(True, False)),
    "no memories, grey": Shape(memories=0, channels=1, out=1),
    "group norms, as before 2.0.0": Shape(groups=8),
    "neither memories nor RMS norms, as before 1.9.0": Shape(groups=4, memories=0),
    "another longest period": Shape(theta=500.0),
    "a learned variance": Shape(out=6),
}
BETAS = theirs.cosine_betas(50)
T = torch.tensor([0, 7, 49])


def saved(folder: Path, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "model-7.pt")
    return folder / "model-7.pt"


def imported(file: Path, *flags: str) -> Checkpoint:
    assert run(file, *flags) == 0
    return open_checkpoint(file.parent / "ours")


def run(file: Path, *flags: str) -> int:
    project = ["import", "denoising-diffusion-pytorch", str(file), "--force"]
    return main([*project, "--out", str(file.parent / "ours"), "--image-size", "16", *flags])


def flags_of(shape: Shape) -> list[str]:
    made = [f"--theta={shape.theta}", f"--heads={shape.heads}"]
    return [*made, f"--groups={shape.groups}"] if shape.groups else made


def images(shape: Shape) -> Tensor:
    return torch.randn(3, shape.channels, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_imported_network_gives_what_theirs_does(shape: Shape, tmp_path: Path) -> None:
    weights, x_t = theirs.drawn(shape), images(shape)
    file = saved(tmp_path, theirs.diffusion(weights, BETAS, "pred_noise"))
    checkpoint = imported(file, *flags_of(shape))
    expected = theirs.output(shape, weights, x_t, T).float()
    torch.testing.assert_close(checkpoint.load()(x_t, T), expected, rtol=1e-5, atol=1e-5)


def test_the_average_is_taken_of_a_trainers_file_unless_the_last_weights_are_asked_for(
    tmp_path: Path,
) -> None:
    shape = Shape()
    last, average = theirs.drawn(shape, 1), theirs.drawn(shape, 2)
    parts = [theirs.diffusion(weights, BETAS, "pred_v") for weights in (last, average)]
    file = saved(tmp_path, theirs.trainer_file(*parts))
    for flag, weights in ((None, average), ("--weights=ema", average), ("--weights=model", last)):
        found = imported(file, *([flag] if flag else [])).load().state_dict()
        assert torch.equal(found["final_conv.weight"], weights["final_conv.weight"])


@pytest.mark.parametrize("gamma", [math.inf, 5.0])
@pytest.mark.parametrize(
    ("objective", "prediction"), [("pred_noise", "eps"), ("pred_x0", "x_0"), ("pred_v", "v")]
)
def test_the_weights_of_the_loss_tell_the_objective(
    objective: str, prediction: str, gamma: float, tmp_path: Path
) -> None:
    state = theirs.diffusion(theirs.drawn(Shape()), BETAS, objective, gamma)
    process = imported(saved(tmp_path, state)).process
    assert process.prediction == prediction
    assert process.beta_table == tuple(BETAS.float().tolist()) and process.clip == 1.0


def test_a_learned_variance_lies_between_the_two_fixed_ones(tmp_path: Path) -> None:
    shape = Shape(out=6)
    file = saved(tmp_path, theirs.diffusion(theirs.drawn(shape), BETAS, "pred_noise"))
    assert imported(file).process.variance == "learned_range"


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_ddim_is_their_ddim(objective: str, tmp_path: Path) -> None:
    shape, kept = Shape(), [9, 19, 29, 39, 49]
    weights = theirs.drawn(shape)
    checkpoint = imported(saved(tmp_path, theirs.diffusion(weights, BETAS, objective)))
    source = Source.open(checkpoint.folder, "cpu", "eager")
    made = generate(source, Request(seed=5, n=2, sampler="ddim", num_steps=len(kept)))
    x_T = normal(torch.full((2,), 5), torch.arange(2), torch.zeros(2).long(), (3, 16, 16))
    expected = theirs.ddim(shape, weights, BETAS, objective, x_T.double(), kept)
    torch.testing.assert_close(made, expected.float(), rtol=1e-4, atol=1e-4)


def edit(change: Callable[[Weights], Any]) -> Weights:
    state = theirs.diffusion(theirs.drawn(Shape()), BETAS, "pred_noise")
    change(state)
    return state


@pytest.mark.parametrize(
    ("state", "flags", "message"),
    [
        (edit(lambda s: s.pop("betas")), [], "betas and model.init_conv.weight are missing"),
        (edit(lambda s: s), ["--weights=ema"], "init_conv.weight of --weights ema are missing"),
        (edit(lambda s: s.pop("loss_weight")), [], "--objective: missing, and the file"),
        (edit(lambda s: s), ["--objective=pred_v"], "the file's loss_weight is that of pred_noise"),
        (
            edit(lambda s: s.update({"model.mid_attn.fn.norm.g": torch.ones(1, 32, 1, 1)})),
            [],
            "tensor mid_attn.fn.norm.g: a network of a release before 1.8.0",
        ),
        (
            edit(lambda s: s.update({"model.time_mlp.0.weights": torch.ones(8)})),
            [],
            "tensor time_mlp.0.weights: a random or learned embedding of t",
        ),
        (
            edit(lambda s: s.update({"model.classes_emb.weight": torch.ones(8, 8)})),
            [],
            "the class-conditional network of classifier_free_guidance",
        ),
        (
            edit(lambda s: s.update({"model.init_conv.weight": torch.ones(16, 6, 7, 7)})),
            [],
            "init_conv.weight takes 6 channels: self_condition",
        ),
        (
            edit(lambda s: s.pop("model.mid_attn.to_out.bias")),
            [],
            "tensor mid_attn.to_out.bias is missing",
        ),
        (
            edit(lambda s: s.update({"model.ups.0.0.mlp.1.bias": torch.ones(5)})),
            [],
            "tensor ups.0.0.mlp.1.bias has shape (5,)",
        ),
        (edit(lambda s: s), ["--image-size=15"], "sample_size: 15 is not allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_by_name(
    state: Weights, flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = saved(tmp_path, state)
    assert run(file, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_the_network_is_unconditional(tmp_path: Path) -> None:
    file = saved(tmp_path, theirs.diffusion(theirs.drawn(Shape()), BETAS, "pred_noise"))
    network = imported(file).load()
    assert isinstance(network, LucidrainsUnet)
    with pytest.raises(ValueError, match="label"):
        network(images(Shape()), T, torch.zeros(3, dtype=torch.int64))
