"""Pictures that a user names, as images of a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from diffusion.commands.pictures import read_mask, read_pictures
from diffusion.sampling import RequestError
from tests.tiny import save_tiny

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


def refusal(path: Path, shape: tuple[int, int, int] = GREY, *, resize: bool = False) -> str:
    with pytest.raises(RequestError) as refused:
        read_pictures([path], "pictures", shape, resize=resize)
    start = f"pictures: {str(path)!r} is not allowed: "
    assert str(refused.value).startswith(start)
    return str(refused.value).removeprefix(start)


def test_pixels_become_numbers_from_minus_1_to_1(tmp_path: Path) -> None:
    image = np.full((8, 8), 128, np.uint8)
    image[0, :2] = 0, 255
    Image.fromarray(image).save(tmp_path / "a.png")
    made = read_pictures([tmp_path / "a.png"] * 2, "pictures", GREY, resize=False)
    assert made.shape == (2, *GREY) and made.dtype == torch.float32
    assert made[1, 0, 0, :3].tolist() == pytest.approx([-1, 1, 128 / 127.5 - 1], abs=1e-6)


def test_grey_is_spread_over_a_models_channels_and_what_is_transparent_is_black(
    tmp_path: Path,
) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    paths = [tmp_path / "grey.png", tmp_path / "clear.png"]
    white, black = read_pictures(paths, "pictures", COLOUR, resize=False)
    assert (white == 1).all() and (black == -1).all()


def test_a_larger_picture_is_scaled_and_cut_in_the_middle(tmp_path: Path) -> None:
    image = np.zeros((16, 48), np.uint8)
    image[:, 16:32] = 255
    Image.fromarray(image).save(tmp_path / "wide.png")
    assert "it is 48 x 16 pixels, and the model's images 8 x 8; --resize scales it" in refusal(
        tmp_path / "wide.png"
    )
    made = read_pictures([tmp_path / "wide.png"], "pictures", GREY, resize=True)
    assert made.shape == (1, *GREY) and made[..., 1:-1].min() == 1, "the white middle"


def test_a_mask_is_1_where_it_is_white(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[4:] = 255
    image[0] = 51
    Image.fromarray(image).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", COLOUR, resize=False)
    assert mask.shape == (1, 1, 8, 8)
    assert mask[0, 0, :, 0].tolist() == pytest.approx([0.2, 0, 0, 0, 1, 1, 1, 1])


def test_what_is_no_picture_is_refused_with_field_file_and_reason(
    pictures: Path, tmp_path: Path
) -> None:
    assert refusal(pictures / "none.png").startswith("not an image of a format that is known")
    assert refusal(tmp_path / "nowhere.png") == "No such file or directory"
    assert refusal(tmp_path) == "Is a directory"
    with pytest.raises(RequestError, match=r"^mask: .*wide.png. is not allowed: it is 40 x 16"):
        read_mask(pictures / "wide.png", GREY, resize=False)


def test_a_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert "pixels" in refusal(tmp_path / "bomb.png", resize=True)


@pytest.mark.usefixtures("network")
def test_five_channels_are_no_picture(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five = save_tiny(tmp_path / "five", channels=5)
    assert main(["encode", str(five), str(pictures / "a.png")]) == 2
    assert "the model's images have 5 channels, and pictures 1 or 3" in capsys.readouterr().err
