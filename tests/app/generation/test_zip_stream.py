"""Archives in parts of known sizes: the bytes that `zipfile` writes, from any place on."""

import io
import random
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from app.generation.zip_stream import (
    BLOCK_BYTES,
    Body,
    Entry,
    archive,
    archive_of_many,
    directory,
    joined_crc,
    memory_file,
    npy_file,
    npy_file_of_rows,
)

FILES = {f"{i:06d}.png": bytes([i]) * (i * 37 % 101) for i in range(50)}


def by_zipfile(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in files.items():
            out.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def whole(body: Body) -> bytes:
    return b"".join(body.blocks(0, body.size))


def test_many_files_are_the_bytes_of_an_archive_made_in_memory() -> None:
    entries = [Entry(name, len(c), zlib.crc32(c)) for name, c in FILES.items()]
    contents = list(FILES.values())
    made = archive_of_many(len(entries), entries.__getitem__, contents.__getitem__)
    assert whole(made) == by_zipfile(FILES)


def test_few_files_are_too() -> None:
    files = [memory_file(name, content) for name, content in FILES.items()]
    assert whole(archive(files)) == by_zipfile(FILES)


def test_an_npz_in_rows_is_the_bytes_of_one_made_in_memory() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3), np.uint8)
    index = np.arange(300)
    crcs = np.array([zlib.crc32(image.tobytes()) for image in images])
    rows = npy_file_of_rows(
        "images", images.dtype, images.shape, crcs, lambda i: images[i].tobytes()
    )
    made = archive([rows, npy_file("index", index)])
    assert whole(made) == by_zipfile({"images.npy": npy(images), "index.npy": npy(index)})


def test_any_range_of_it_is_that_range_of_the_whole() -> None:
    body = Body.join([memory_file(name, content)[1] for name, content in FILES.items()])
    expected, rng = b"".join(FILES.values()), random.Random(0)
    assert body.size == len(expected)
    for _ in range(300):
        start = rng.randrange(body.size)
        stop = rng.randint(start + 1, body.size)
        assert b"".join(body.blocks(start, stop)) == expected[start:stop]


def test_a_large_part_is_sent_in_blocks() -> None:
    content = random.Random(0).randbytes(3 * BLOCK_BYTES + 5)
    body = Body.join([Body.of(b"head"), Body.of(memoryview(content))])
    blocks = list(body.blocks(2, body.size))
    assert b"".join(blocks) == b"ad" + content
    assert max(map(len, blocks)) < 2 * BLOCK_BYTES


def test_only_the_parts_of_a_range_are_read() -> None:
    read: list[int] = []

    def part(i: int) -> bytes:
        read.append(i)
        return bytes(10)

    body = Body(np.full(100, 10), part)
    assert len(b"".join(body.blocks(205, 221))) == 16
    assert read == [20, 21, 22]


@pytest.mark.parametrize("length", [0, 1, 784, 70_001])
def test_a_joined_crc_is_the_crc_of_the_joined_bytes(length: int) -> None:
    rng = random.Random(length)
    head, pieces = rng.randbytes(99), [rng.randbytes(length) for _ in range(20)]
    crcs = np.array([zlib.crc32(piece) for piece in pieces])
    assert joined_crc(zlib.crc32(head), crcs, length) == zlib.crc32(head + b"".join(pieces))


def test_archives_of_more_than_four_gigabytes_are_read_by_others(tmp_path: Path) -> None:
    entries = [Entry("large.npy", 5 << 30, 0), Entry("small.npy", 4, zlib.crc32(b"here"))]
    with (tmp_path / "sparse.zip").open("wb") as out:
        out.write(entries[0].header)
        out.seek(5 << 30, io.SEEK_CUR)
        out.write(entries[1].header + b"here" + directory(entries))
    with zipfile.ZipFile(tmp_path / "sparse.zip") as opened:
        assert [info.file_size for info in opened.infolist()] == [5 << 30, 4]
        assert opened.read("small.npy") == b"here"


def test_archives_of_more_than_65535_files_are_read_by_others() -> None:
    entries = [Entry(f"{i:06d}.png", 1, zlib.crc32(b"x")) for i in range(70_000)]
    content = whole(archive_of_many(len(entries), entries.__getitem__, lambda _: b"x"))
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert len(opened.namelist()) == 70_000
        assert opened.read("069999.png") == b"x"
