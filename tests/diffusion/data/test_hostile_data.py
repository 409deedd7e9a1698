"""Data that somebody made to hurt: refused, or left out, in bounded time and memory. They are read
in a process of their own that is not allowed more."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MEMORY_BYTES = 768 << 20
"""What reading may take beside what the process has when it begins: one unpacked picture may have
up to 512 MiB."""
PATIENCE_SECONDS = 60
"""Tells what ends from what does not, also on a busy machine."""
READ = f"""
import resource, signal, sys
from diffusion.config import DataConfig
from diffusion.data.datasets import survey
from diffusion.data.images import DataError

with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MEMORY_BYTES},) * 2)
for path in sys.argv[1:]:
    signal.alarm({PATIENCE_SECONDS})
    try:
        print(dict(survey(DataConfig(path)).images))
    except DataError as error:
        print(str(error).replace(chr(10), " "))
"""


def png(side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(file, "png")
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def huge_png(side: int) -> bytes:
    """The head of a picture of that many pixels a side."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000)))


def text_bomb() -> bytes:
    """A good picture with a comment that unpacks to 256 MiB."""
    raw = png()
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 28), 1))
    return raw[:33] + comment + raw[33:]


def folder(files: dict[str, bytes]) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        return place

    return make


def with_pipe(place: Path) -> Path:
    made = folder({"0.png": png()})(place)
    os.mkfifo(made / "1.png")
    os.symlink("/dev/zero", made / "2.png")
    return made


def zip_bomb(place: Path) -> Path:
    path = place.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("0.png", png())
        with archive.open("1.png", "w", force_zip64=True) as member:
            for _ in range(1024):
                member.write(bytes(1 << 20))
    return path


def endless_zip(place: Path) -> Path:
    path = place.with_suffix(".zip")
    path.touch()
    os.truncate(path, 1 << 40)  # it takes no room on the disk
    return path


def npz_of_shape(shape: str) -> Callable[[Path], Path]:
    """An array of which there is nothing but its description."""

    def make(place: Path) -> Path:
        path = place.with_suffix(".npz")
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        with zipfile.ZipFile(path, "w") as archive:
            head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
            archive.writestr("images.npy", head)
        return path

    return make


def idx_bomb(place: Path) -> Path:
    made = folder({})(place)
    with gzip.open(made / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(struct.pack(">IIII", 0x00000803, 1, 4, 4))
        for _ in range(1024):
            file.write(bytes(1 << 20))
    with gzip.open(made / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x00000801, 1) + b"\0")
    return made


def pipe(place: Path) -> Path:
    path = place.with_suffix(".npz")
    os.mkfifo(path)
    return path


ONE = "{'train': 1}"
CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a picture of 3.6 gigapixels": (folder({"0.png": png(), "1.png": huge_png(60_000)}), ONE),
    "nothing but such pictures": (folder({"1.png": huge_png(60_000)}), "3600000000|60000 x 60000"),
    "a comment of 256 MiB": (folder({"0.png": png(), "1.png": text_bomb()}), ONE),
    "a pipe and a device": (with_pipe, ONE),
    "a zip's member of a gigabyte": (zip_bomb, ONE),
    "an endless zip": (endless_zip, "not a whole zip"),
    "deep labels": (folder({"0.png": png(), "dataset.json": b"[" * 1_000_000}), "dataset.json"),
    "an array of a quadrillion": (npz_of_shape("(1000000000, 1000, 1000)"), "images"),
    "an array of negative size": (npz_of_shape("(-1, 28, 28)"), "images"),
    "an array of a deep shape": (npz_of_shape("(" * 5000), "images"),
    "more in an IDX file than it says": (idx_bomb, "train-images-idx3-ubyte"),
    "a pipe for an archive": (pipe, ".npz"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What reading each of them says."""
    place = tmp_path_factory.mktemp("hostile")
    paths = [make(place / str(number)) for number, (make, _) in enumerate(CASES.values())]
    ended = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, [*lines[-1:], ended.stderr]
    return dict(zip(CASES, lines, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_or_left_out(case: str, said: dict[str, str]) -> None:
    assert any(part in said[case] for part in CASES[case][1].split("|")), said[case]
    assert len(said[case]) < 2000
