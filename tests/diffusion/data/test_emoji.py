"""The data set `emoji`: Unicode's list, and the pictures of the installed font."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from diffusion.config import DataConfig
from diffusion.data import emoji
from diffusion.data.datasets import load, read
from diffusion.data.emoji import CLASSES, Emoji, Pictures, in_list
from diffusion.data.images import DataError
from diffusion.data.picture import decode
from diffusion.data.shaping import Form

LIST = """\
# emoji-test.txt
# group: People & Body
1F44B ; fully-qualified # 👋 E0.6 waving hand
1F44B 1F3FB ; fully-qualified # 👋🏻 E1.0 waving hand: light skin tone
1F575 FE0F 200D 2642 FE0F ; fully-qualified # 🕵️‍♂️ E4.0 man detective
1F575 200D 2642 ; unqualified # 🕵‍♂ E4.0 man detective
# group: Component
1F3FB ; component # 🏻 E1.0 light skin tone
# group: Flags
1F1E9 1F1EA ; fully-qualified # 🇩🇪 E0.6 flag: Germany
"""
FONT = next((path for path in emoji.FONT[1] if path.is_file()), None)
installed = pytest.mark.skipif(
    FONT is None or not any(path.is_file() for path in emoji.LIST[1]),
    reason=f"needs the emoji font; {emoji.INSTALL}",
)


def test_the_list_gives_code_points_names_and_groups() -> None:
    people, flags = CLASSES.index("people"), CLASSES.index("flags")
    assert list(in_list(LIST)) == [
        Emoji((0x1F44B,), "waving hand", people),
        Emoji((0x1F44B, 0x1F3FB), "waving hand: light skin tone", people),
        Emoji((0x1F575, 0x200D, 0x2642), "man detective", people),
        Emoji((0x1F1E9, 0x1F1EA), "flag: Germany", flags),
    ]


def test_all_tones_of_a_kind_are_in_one_split() -> None:
    kinds = [f"kind {number}" for number in range(1000)]
    for kind in kinds:
        assert (
            len({Emoji((1,), f"{kind}{tone}", 0).split for tone in ("", ": dark skin tone")}) == 1
        )
    assert sum(Emoji((1,), kind, 0).split == "test" for kind in kinds) == pytest.approx(100, abs=30)
    assert Emoji((1,), "flag: Chad", 0).kind == "flag: Chad", "flags have no tones"


def test_what_is_not_installed_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing.ttf"
    monkeypatch.setattr(emoji, "FONT", ("the font Noto Color Emoji", (missing,)))
    with pytest.raises(DataError) as caught:
        load("emoji")
    assert str(caught.value) == (
        f"emoji: the font Noto Color Emoji is not installed: {missing} is missing; on Debian and "
        "Ubuntu: apt-get install fonts-noto-color-emoji unicode-data"
    )


def test_what_is_no_font_of_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font, listed = tmp_path / "font.ttf", tmp_path / "list.txt"
    font.write_bytes(b"no font at all")
    listed.write_text(LIST)
    monkeypatch.setattr(emoji, "FONT", ("the font", (font,)))
    monkeypatch.setattr(emoji, "LIST", ("the list", (listed,)))
    with pytest.raises(DataError, match="it is no font with pictures of one size"):
        load("emoji")


@pytest.mark.slow
@installed
def test_each_picture_of_the_font_is_in_one_split_once() -> None:
    train, test = load("emoji"), load("emoji", "test")
    assert train.pixels.shape[1:] == test.pixels.shape[1:] == (3, 64, 64)
    assert train.classes == CLASSES and set(train.labels.tolist()) == set(range(9))
    assert 0.05 < len(test) / (len(train) + len(test)) < 0.15
    corners = np.concatenate([train.pixels, test.pixels])[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all(axis=(1, 2)).mean() > 0.98, "they are on white"
    pictures = Counter(picture.numpy().tobytes() for picture in [*train.pixels, *test.pixels])
    assert set(pictures.values()) == {1}


@installed
@pytest.mark.parametrize("text", ["😀", "🍇", "👍🏽", "🇩🇪"])
def test_a_picture_is_what_freetype_draws(text: str) -> None:
    points = tuple(map(ord, text))
    if len(points) > 1 and not features.check("raqm"):
        pytest.skip("Pillow cannot join code points here")
    canvas = Image.new("RGB", (200, 200), "white")
    font = ImageFont.truetype(str(FONT), 109)  # the size at which its pictures are as they are
    ImageDraw.Draw(canvas).text((20, 20), text, font=font, embedded_color=True)
    assert FONT is not None
    pictures = Pictures(FONT)
    ours = decode(pictures.png(pictures.glyphs[points]), Form(3), text)
    drawn, ours = content(np.asarray(canvas).transpose(2, 0, 1)), content(ours)
    assert drawn.shape == ours.shape
    assert np.abs(drawn.astype(int) - ours).max() <= 2


def content(picture: np.ndarray) -> np.ndarray:
    """What is not white, (C,H,W)."""
    _, rows, columns = np.nonzero(picture < 250)
    return picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@pytest.mark.slow
@installed
def test_a_smaller_size_is_made_of_it() -> None:
    small = read(DataConfig("emoji", size=32)).split("train")
    large = load("emoji")
    halved = large.pixels.float().reshape(-1, 3, 32, 2, 32, 2).mean(dim=(3, 5))
    assert (small.pixels.float() - halved).abs().max() <= 1
