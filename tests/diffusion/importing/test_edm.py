"""NVlabs/edm: what the imported network computes and samples is what theirs does."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.cli import main
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.noise import normal
from diffusion.process import Process
from diffusion.sampling import Request, Source, generate
from tests.diffusion.importing import edm_network as theirs
from tests.diffusion.importing.edm_network import Denoiser, Shape, Weights

SHAPES = {
    "two levels": Shape(),
    "three levels, two blocks": Shape(side=16, mults=(1, 2, 2), blocks=2, attends=(16, 8)),
    "no attention but in the middle, grey": Shape(attends=(), channels=1),
    "classes": Shape(classes=10),
    "wide enough for 32 groups": Shape(width=64, mults=(2, 2)),
}
T = 40
STEPS = torch.tensor([0, 11, T - 1])


def saved(folder: Path, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "net.pt")
    return folder / "net.pt"


def run(file: Path, *flags: str) -> int:
    given = ["import", "edm", str(file), "--out", str(file.parent / "ours"), "--force"]
    return main([*given, f"--timesteps={T}", *flags])


def imported(folder: Path, weights: Weights, *flags: str) -> Checkpoint:
    file = saved(folder, theirs.state_dict(weights))
    assert run(file, *flags) == 0
    return open_checkpoint(file.parent / "ours")


def sigmas(precond: str) -> Tensor:
    """The noise levels of the chain, (T,), from the paper's table 1."""
    if precond == "vp":
        u = torch.arange(1, T + 1).double() / T
        return ((19.9 / 2 * u**2 + 0.1 * u).exp() - 1).sqrt()
    i = torch.arange(T).double()
    top, bottom = 80 ** (1 / 7), 0.002 ** (1 / 7)
    return (top + i / (T - 1) * (bottom - top)).pow(7).flip(0)


@pytest.mark.parametrize("precond", ["vp", "edm"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_imported_network_gives_the_noise_that_their_denoiser_removes(
    shape: Shape, precond: str, tmp_path: Path
) -> None:
    weights = theirs.drawn(shape)
    checkpoint = imported(tmp_path, weights, f"--precond={precond}")
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(3, shape.channels, shape.side, shape.side, generator=generator)
    label = torch.tensor([0, 3, 9]) if shape.classes else None
    sigma = sigmas(precond)[STEPS]
    x = x_t * (1 + sigma**2).sqrt()[:, None, None, None]
    removed = x - Denoiser(shape, weights, precond)(x, sigma, label)
    expected = (removed / sigma[:, None, None, None]).float()
    made = checkpoint.eps_model()(x_t, STEPS, label)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precond", ["vp", "edm"])
def test_the_chain_has_the_noise_levels_of_the_paper(precond: str, tmp_path: Path) -> None:
    checkpoint = imported(tmp_path, theirs.drawn(Shape()), f"--precond={precond}")
    process = Process.from_config(checkpoint.process)
    found = ((1 - process.alpha_bar) / process.alpha_bar).sqrt()
    torch.testing.assert_close(found, sigmas(precond), rtol=1e-7, atol=0)
    assert checkpoint.process.clip is None and checkpoint.process.prediction == "eps"


@pytest.mark.parametrize("precond", ["vp", "edm"])
def test_ddim_is_their_sampler_by_eulers_method(precond: str, tmp_path: Path) -> None:
    shape = Shape(classes=3)
    weights = theirs.drawn(shape)
    source = Source.open(imported(tmp_path, weights, f"--precond={precond}").folder, "cpu", "eager")
    request = Request(seed=5, n=2, labels=[2, 0], sampler="ddim", num_steps=4)
    made = generate(source, request)
    kept = torch.tensor([9, 19, 29, 39])
    levels = sigmas(precond)[kept].flip(0)
    x_T = normal(torch.full((2,), 5), torch.arange(2), torch.zeros(2).long(), (3, 8, 8)).double()
    x = x_T * (1 + levels[0] ** 2).sqrt()
    expected = theirs.euler(Denoiser(shape, weights, precond), x, levels, torch.tensor([2, 0]))
    torch.testing.assert_close(made, expected.float(), rtol=1e-4, atol=1e-4)


def test_the_datas_standard_deviation_is_a_flag(tmp_path: Path) -> None:
    shape, sigma = Shape(), torch.tensor([1.0, 80.0]).double()
    weights, x = theirs.drawn(shape), torch.randn(2, 3, 8, 8)
    flags = "--precond=edm", "--sigma-data=1.5", "--sigma-min=1"
    model = imported(tmp_path, weights, *flags).eps_model()
    scale = sigma[:, None, None, None]
    expected = (x - Denoiser(shape, weights, "edm", 1.5)(x, sigma, None)) / scale
    x_t = (x / (1 + scale**2).sqrt()).float()
    made = model(x_t, torch.tensor([0, T - 1]))
    torch.testing.assert_close(made, expected.float(), rtol=1e-5, atol=1e-5)


def edit(change: Callable[[Weights], Any]) -> Weights:
    weights = theirs.drawn(Shape())
    change(weights)
    return theirs.state_dict(weights)


@pytest.mark.parametrize(
    ("state", "flags", "message"),
    [
        (
            edit(lambda w: w.update({"out_conv.weight": torch.ones(3, 16, 3, 3)})),
            [],
            "tensor out_conv.weight: a DhariwalUNet (ADM), which is not known here",
        ),
        (
            edit(lambda w: w.update({"map_noise.freqs": torch.ones(8)})),
            [],
            "tensor map_noise.freqs: the form NCSN++ of a SongUNet",
        ),
        (
            edit(lambda w: w.update({"enc.4x4_down.skip.resample_filter": torch.ones(1, 1, 4, 4)})),
            [],
            "enc.4x4_down.skip.resample_filter: not the filter [1, 1] of DDPM++",
        ),
        (
            edit(lambda w: w.pop("dec.8x8_aux_norm.bias")),
            [],
            "tensor dec.8x8_aux_norm.bias is missing",
        ),
        (
            edit(lambda w: w.update({"enc.4x4_aux_residual.weight": torch.ones(3)})),
            [],
            "tensor enc.4x4_aux_residual.weight has no place in the network",
        ),
        (
            edit(lambda w: w.update({"map_layer1.weight": torch.ones(64, 32)})),
            [],
            "tensor map_layer1.weight has shape (64, 32)",
        ),
        ({"weight": torch.ones(3)}, [], "enc.32x32_block0.norm0.weight, or of another size"),
        (edit(lambda _: None), ["--timesteps=1"], "--timesteps: 1 is not allowed"),
        (edit(lambda _: None), ["--sigma-min=90"], "--sigma-min: 90.0 is not allowed"),
        (edit(lambda _: None), ["--sigma-data=0"], "--sigma-data: 0.0 is not allowed"),
        (edit(lambda _: None), [f"--sigma-max={math.inf}"], "--sigma-max: inf is not allowed"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(
    state: Weights, flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(saved(tmp_path, state), "--precond=edm", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()
