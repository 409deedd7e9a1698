"""`ddpm encode`: to the x_t from which DDIM makes a picture again; refusals before the work."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from diffusion import pixels
from diffusion.checkpoint import open_checkpoint
from diffusion.commands.encode import encode, kept
from diffusion.editing import StartError
from diffusion.inversion import inversion
from diffusion.process import Process
from diffusion.sampling import Source
from diffusion.spacing import Spacing
from tests.tiny import save_tiny

T = 50


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("encode") / "tiny", num_timesteps=T)


def test_encode_and_back_gives_the_picture_nearly(
    tiny: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(pictures / "a.png"), str(pictures / "b.png")
    x_t, out = tmp_path / "x.npz", tmp_path / "a.npz"
    steps = ["--steps=50", "--runtime=eager"]
    assert main(["encode", str(tiny), a, b, "--t=10", f"--out={x_t}", *steps]) == 0
    assert f"x_t of 2 pictures at t = 10 written to {x_t}" in capsys.readouterr().out
    with np.load(x_t) as arrays:
        assert arrays["x_t"].shape == (2, 1, 8, 8) and arrays["x_t"].dtype == np.float32
        assert int(arrays["t"]) == 10
    back = ["--sampler=ddim", f"--start-x-t={x_t}", f"--out={out}", *steps]
    assert main(["sample", str(tiny), *back]) == 0
    given = np.stack([np.asarray(Image.open(path)) for path in (a, b)])
    with np.load(out) as arrays:
        error = np.abs(arrays["images"][..., 0].astype(int) - given).mean()
    assert error < 12, "the network is untrained; trained ones do better"


def test_it_takes_the_steps_of_ddim_in_turn(tiny: Path, pictures: Path) -> None:
    """x_next = sqrt(alpha_bar_next) x_0_hat + sqrt(1 - alpha_bar_next) eps_hat, eps_hat at next."""
    source = Source.open(tiny, "cpu", "eager")
    process = Process.from_config(open_checkpoint(tiny).process)
    spacing = Spacing.even(T, 5)
    given = np.stack([np.asarray(Image.open(pictures / f"{name}.png")) for name in "ab"])
    x_0 = pixels.to_model(torch.from_numpy(given))[:, None]
    table, rows = inversion(process, spacing), list[int]()
    made = encode(source, table, x_0, None, batch_size=1, on_rows=rows.append)
    x, before = x_0.double(), torch.tensor(1.0).double()
    for t in spacing.kept:
        with torch.no_grad():
            eps_hat = source.model(x.float(), torch.full((2,), t), None).double()
        now = process.alpha_bar[t]
        clipped = ((x - (1 - now).sqrt() * eps_hat) / now.sqrt()).clamp(-1, 1)  # as on the way down
        eps_hat = (x - now.sqrt() * clipped) / (1 - now).sqrt()
        x_0_hat = (x - (1 - before).sqrt() * eps_hat) / before.sqrt()
        x, before = now.sqrt() * x_0_hat + (1 - now).sqrt() * eps_hat, now
    torch.testing.assert_close(made, x.float(), rtol=1e-4, atol=1e-4)
    assert sum(rows) == 2 * len(table)


@pytest.mark.parametrize(("t", "expected"), [(None, (9, 19, 29, 39, 49)), (30, (9, 19, 29))])
def test_it_keeps_the_timesteps_of_ddim_up_to_t(t: int | None, expected: tuple[int, ...]) -> None:
    assert tuple(kept(5, t, T).kept) == expected


@pytest.mark.parametrize("t", [0, 51, 9])
def test_a_t_that_the_chain_does_not_reach_is_refused(t: int) -> None:
    with pytest.raises(StartError, match=f"^t: {t} is not allowed"):
        kept(5, t, T)


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["wide.png"], "pictures: 'wide.png' is not allowed: it is 40 x 16 pixels"),
        (["a.png", "--out=a.png"], "out: 'a.png' is not allowed: the ending must be"),
        (["a.png", "--out=other.npz"], "the file exists; --force replaces it"),
        (["a.png", "--steps=51"], "steps: 51 is not allowed; it must be 1..50"),
        (["a.png", "--t=0"], "t: 0 is not allowed: it must be 1..50"),
        (
            ["a.png", "--t=3", "--steps=10"],
            "t: 3 is not allowed: the chain's lowest kept timestep is 5",
        ),
        (["a.png", "--label=1"], "labels: 1 is not allowed: this model is unconditional"),
        (["a.png", "--batch-size=0"], "batch_size: 0 is not allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line_before_the_work(
    tiny: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(pictures)
    before = sorted(pictures.iterdir())
    assert main(["encode", str(tiny), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm: ") and message in line
    assert sorted(pictures.iterdir()) == before
