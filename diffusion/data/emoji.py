"""The pictures of the emoji font that is installed, Noto Color Emoji, labelled by Unicode's groups.

The font's pictures (SIL Open Font License 1.1) are PNGs of 136x128 pixels in its table CBDT. Which
of them shows which emoji is in `cmap`, for a single code point, and in the ligatures of `GSUB`, for
several. Unicode's emoji-test.txt lists all emoji, group by group.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.data.arrays import Arrays, Stamp, file_stamp
from diffusion.data.images import DataError, Split
from diffusion.data.picture import decode
from diffusion.data.shaping import Form

FONT = (
    "the font Noto Color Emoji",
    (
        Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),  # Debian, Ubuntu
        Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),  # Arch
    ),
)
LICENSE = "OFL-1.1, the Noto Emoji authors: https://github.com/googlefonts/noto-emoji"
LIST = "Unicode's list of emoji", (Path("/usr/share/unicode/emoji/emoji-test.txt"),)
"""What must be installed, and where it may be."""
INSTALL = "on Debian and Ubuntu: apt-get install fonts-noto-color-emoji unicode-data"
SIDE = 64
"""Pixels of a side, unless [data] size says otherwise."""
GROUPS = {
    "Smileys & Emotion": "faces",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
}
"""Unicode's groups and our classes, in the order of the labels. Its components are left out: tones
of skin alone, and hair."""
CLASSES = tuple(GROUPS.values())
WITHOUT_LETTERS = ("faces", "people", "animals", "food")
"""The classes that may be mirrored: signs, books, buttons and flags show letters and digits."""
EMOJI_STYLE = 0xFE0F
"""The variation selector that asks for a picture; the font's ligatures are without it."""
TEST_SHARE = 0.1


@dataclass(frozen=True)
class Emoji:
    """An emoji of Unicode's list."""

    code_points: tuple[int, ...]
    name: str
    label: int

    @property
    def kind(self) -> str:
        """The name without the tones of skin and hair, in which there are up to 25 of it."""
        return self.name.partition(":")[0] if "skin tone" in self.name else self.name

    @property
    def split(self) -> Split:
        """The split, by a hash: the same one for all tones of a kind, or the test set would hold
        what training has almost seen."""
        digest = hashlib.sha256(self.kind.encode()).digest()
        return "test" if int.from_bytes(digest[:8]) < TEST_SHARE * 2**64 else "train"


def read(_cache: Path, split: Split) -> Arrays:
    """Read a split from the installed font: uint8 (N,3,64,64), on white, padded to squares. Of
    emoji that look the same the first is taken.

    Raises DataError where the font, the list or fontTools is missing, or of another kind.
    """
    path, listed = _installed(*FONT), _installed(*LIST)
    pictures = Pictures(path)
    pixels, labels, seen = [], [], set[bytes]()
    for emoji in in_list(listed.read_text(encoding="utf-8")):
        glyph = pictures.glyphs.get(emoji.code_points)
        if glyph is None or (png := pictures.png(glyph)) in seen:
            continue
        seen.add(png)
        if emoji.split == split:
            pixels.append(decode(png, Form(3, (SIDE, SIDE), "pad"), emoji.name))
            labels.append(emoji.label)
    if not pixels:
        raise DataError(f"emoji: {path} has none of the emoji that {listed} lists")
    return Arrays(np.stack(pixels), np.array(labels))


def stamp() -> Stamp:
    """What changes when another version is installed. Raises DataError where there is none."""
    return (*file_stamp(_installed(*FONT)), *file_stamp(_installed(*LIST)))


def in_list(text: str) -> Iterator[Emoji]:
    """The emoji in the text of Unicode's emoji-test.txt that are in a group of ours."""
    label = None
    for line in text.splitlines():
        if line.startswith("# group: "):
            group = GROUPS.get(line.removeprefix("# group: ").strip())
            label = None if group is None else CLASSES.index(group)
        written, _, rest = line.partition(";")
        status, _, comment = rest.partition("#")
        if label is None or status.strip() != "fully-qualified":
            continue
        points = tuple(int(point, 16) for point in written.split())
        _emoji, _version, name = comment.split(maxsplit=2)
        yield Emoji(tuple(point for point in points if point != EMOJI_STYLE), name, label)


class Pictures:
    """The font's pictures: `glyphs` are their names, by the code points that they show."""

    def __init__(self, path: Path) -> None:
        """Open a font. Raises DataError for one without pictures."""
        try:
            from fontTools.ttLib import TTFont, TTLibError
        except ImportError:
            raise DataError("emoji: fontTools is missing: install the extra `emoji`") from None
        try:
            font = TTFont(io.BytesIO(path.read_bytes()), lazy=True)
            (self._strike,) = font["CBDT"].strikeData
            self.glyphs = {
                points: glyph for points, glyph in _glyphs(font) if glyph in self._strike
            }
        except (OSError, TTLibError, KeyError, ValueError, AssertionError) as error:
            reason = "it is no font with pictures of one size (CBDT)"
            raise DataError(f"emoji: {path}: {reason}: {error!r}") from None

    def png(self, glyph: str) -> bytes:
        """The picture of a glyph, as a PNG."""
        return bytes(self._strike[glyph].imageData)


def _glyphs(font: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Code points without EMOJI_STYLE, and the glyph that shows them."""
    point_of = {}
    for point, glyph in font.getBestCmap().items():
        point_of[glyph] = point
        yield (point,), glyph
    ligatures = [look for look in font["GSUB"].table.LookupList.Lookup if look.LookupType == 4]
    for table in (table for lookup in ligatures for table in lookup.SubTable):
        for first, ending in (
            (first, one) for first, all_ in table.ligatures.items() for one in all_
        ):
            names = (first, *ending.Component)
            if all(name in point_of for name in names):
                yield tuple(point_of[name] for name in names), ending.LigGlyph


def _installed(what: str, paths: Sequence[Path]) -> Path:
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise DataError(f"emoji: {what} is not installed: {paths[0]} is missing; {INSTALL}")
    return found
