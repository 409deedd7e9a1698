"""`ddpm sample` from pictures, seeds and states; starts that are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from diffusion import pixels, sampling
from diffusion.editing import FromPicture, Mask
from tests.tiny import save_tiny

FLAGS = ["--runtime=eager", "--sampler=ddim", "--steps=10"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("start") / "tiny")


def images(path: Path) -> np.ndarray:
    with np.load(path) as arrays:
        return np.array(arrays["images"])


def test_the_flags_of_a_start_are_the_request(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    flags = [f"--start-image={pictures / 'a.png'}", f"--mask={pictures / 'mask.png'}", "--t=40"]
    flags += ["--resamplings=2", "--jump=3", "--n=2", f"--out={out}", "--seed=5", *FLAGS]
    assert main(["sample", str(tiny), *flags]) == 0
    given = np.asarray(Image.open(pictures / "a.png"))
    mask = torch.zeros(1, 1, 8, 8)
    mask[:, :, 4:] = 1
    start = FromPicture(x_0=pixels.to_model(torch.tensor(given))[None, None], t=40)
    request = sampling.Request(
        5, 2, sampler="ddim", num_steps=10, start=start, mask=Mask(mask, 2, 3)
    )
    x_0 = sampling.generate(sampling.Source.open(tiny, "cpu", "eager"), request)
    np.testing.assert_array_equal(images(out), pixels.to_uint8(x_0.numpy()))
    np.testing.assert_array_equal(images(out)[:, :4, :, 0], np.stack([given[:4]] * 2))


def test_of_several_weights_or_pictures_each_makes_an_image(
    tiny: Path, pictures: Path, tmp_path: Path
) -> None:
    a, b, out = str(pictures / "a.png"), str(pictures / "b.png"), tmp_path / "a.npz"
    for flags, count in (
        (["--start-images", a, b, "--t=30", "--weights", "0", "0.5", "1"], 3),
        (["--seeds", "1", "2", "--weights", "0", "1"], 2),
        (["--seeds", "1", "2", "--n=4"], 4),
        (["--start-image", a, b, "--t=30"], 2),
        (["--start-image", a, "--t=30", "--n=1"], 1),
    ):
        assert main(["sample", str(tiny), *flags, f"--out={out}", "--force", *FLAGS]) == 0
        assert len(images(out)) == count


def test_a_trajectorys_frame_is_a_start(tiny: Path, tmp_path: Path) -> None:
    states = np.random.default_rng(0).standard_normal((2, 3, 1, 8, 8)).astype(np.float32)
    path, out = tmp_path / "x.npz", tmp_path / "a.npz"
    np.savez(path, x_t=states, x0_hat=states, t=np.array([50, 25, 0]))
    flags = [f"--start-x-t={path}", f"--out={out}", *FLAGS]
    assert main(["sample", str(tiny), *flags, "--t=25"]) == 0
    assert len(images(out)) == 2
    np.save(tmp_path / "x.npy", states[:, 1])
    flags = [f"--start-x-t={tmp_path / 'x.npy'}", f"--out={tmp_path / 'b.npz'}", *FLAGS]
    assert main(["sample", str(tiny), *flags, "--t=25"]) == 0
    np.testing.assert_array_equal(images(out), images(tmp_path / "b.npz"))


def test_a_trajectory_without_a_t_for_each_frame_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.npz"
    for times in (np.array(25), np.array([50, 25, 0])):
        np.savez(path, x_t=np.zeros((1, 2, 1, 8, 8), np.float32), t=times)
        assert main(["sample", str(tiny), f"--start-x-t={path}", "--t=25", *FLAGS]) == 2
        assert "it holds a trajectory without a t for each of its frames" in capsys.readouterr().err


def test_one_state_makes_one_image_unless_more_are_asked_for(tiny: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8), np.float32))
    flags = [f"--start-x-t={tmp_path / 'x.npy'}", "--t=25", "--force", *FLAGS]
    for more, count in (([], 1), (["--n=2"], 2)):
        out = tmp_path / "a.npz"
        assert main(["sample", str(tiny), *flags, *more, f"--out={out}"]) == 0
        assert len(images(out)) == count


def test_resize_scales_a_picture_and_its_mask(tiny: Path, pictures: Path, tmp_path: Path) -> None:
    flags = [f"--start-image={pictures / 'wide.png'}", "--t=30", "--n=1", *FLAGS]
    assert main(["sample", str(tiny), *flags, "--resize", f"--out={tmp_path / 'a.png'}"]) == 0


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--start-image=a.png"], "t: None is not allowed: without a mask it must say"),
        (["--t=3"], "t: 3 is not allowed: it needs --start-image, --start-images or"),
        (["--weights=1"], "weights: [1.0] is not allowed: it needs --start-images or"),
        (["--mask=mask.png"], "mask: 'mask.png' is not allowed: it needs --start-image"),
        (["--jump=3"], "jump: 3 is not allowed: it needs --mask"),
        (["--resize"], "resize: True is not allowed: it needs --start-image or"),
        (
            ["--start-image=wide.png", "--t=9"],
            "start_image: 'wide.png' is not allowed: it is 40 x 16 pixels, and the model's images "
            "8 x 8; --resize scales it",
        ),
        (
            ["--start-image=none.png", "--t=9"],
            "start_image: 'none.png' is not allowed: not an image of a format that is known",
        ),
        (
            ["--start-images", "a.png", "c.png", "--t=9"],
            "start_images: 'c.png' is not allowed: No such file or directory",
        ),
        (
            ["--start-image=a.png", "--mask=wide.png"],
            "mask: 'wide.png' is not allowed: it is 40 x 16 pixels",
        ),
        (["--start-x-t=a.png"], "start_x_t: 'a.png' is not allowed: it is no .npz or"),
        (["--start-x-t=c.npz"], "start_x_t: 'c.npz' is not allowed: No such file"),
        (["--start-x-t=other.npz"], "there is no array x_t in it"),
        (["--start-x-t=flat.npy"], "x_t is float32 of shape (64,); it must be float32"),
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
    assert main(["sample", str(tiny), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm: ") and message in line
    assert sorted(pictures.iterdir()) == before
