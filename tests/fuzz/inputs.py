"""How inputs are made: good ones, and what is changed in them. An input is the bytes of a file."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import numpy as np
import safetensors.torch
import torch
from PIL import Image

from app.wire.codec import HEADER, encode
from tests.app.wire.test_codec import MESSAGES
from tests.diffusion.data.samples import LABELS, PIXELS, encoded, idx, png
from tests.fuzz.mutations import (
    DEEP,
    DEPTH,
    DIGITS,
    LONG,
    NUMBERS,
    changed_bytes,
    changed_value,
    odd_value,
)
from tests.tiny import save_tiny

ROOT = Path(__file__).parent.parent.parent
UNET, SCHEDULER, CARD = "unet/config.json", "scheduler/scheduler_config.json", "model_card.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
SHARDS = tuple(f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2))
SHARD_INDEX = f"{WEIGHTS}.index.json"
PIPELINE = "model_index.json"
Files = dict[str, bytes]
"""What is in files, by their paths."""
PNG_START = b"\x89PNG\r\n\x1a\n"

Make = Callable[[Random], bytes]


@cache
def checkpoint_files(folder: Path) -> Files:
    """The files of a small class-conditional checkpoint, which is written to a folder."""
    save_tiny(folder, num_classes=3, null_label=True)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sharded_files(files: Files) -> Files:
    """The same checkpoint with its weights in two files, and their index."""
    state = safetensors.torch.load(files[WEIGHTS])
    names = sorted(state)
    parts = {SHARDS[0]: names[:9], SHARDS[1]: names[9:]}
    index = {"weight_map": {name: part for part, names in parts.items() for name in names}}
    others = {name: content for name, content in files.items() if name != WEIGHTS}
    shards = {
        f"unet/{part}": safetensors.torch.save({name: state[name] for name in names})
        for part, names in parts.items()
    }
    return {**others, **shards, SHARD_INDEX: json.dumps(index).encode()}


def json_file(good: bytes) -> Make:
    """Changes the values of a JSON file, and now and then its bytes."""
    values = json.loads(good)

    def make(random: Random) -> bytes:
        changed = as_json(changed_value(random, values))
        return changed_bytes(random, changed) if random.random() < 0.1 else changed

    return make


@cache
def saved(is_zip: bool) -> bytes:
    """A file of torch.save: a zip archive, or the form before that."""
    content = {"ema": {"a.weight": torch.ones(2, 3), "b": torch.ones(1).half()}, "step": 3}
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def torch_file(random: Random) -> bytes:
    """Changes a file of torch.save: the pickle in its archive, or any of its bytes."""
    if random.random() < 0.4:
        return changed_bytes(random, saved(random.random() < 0.5))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(True))) as good, zipfile.ZipFile(made, "w") as changed:
        for name in good.namelist():
            content = good.read(name)
            is_pickle = name.endswith("data.pkl")
            changed.writestr(name, changed_bytes(random, content) if is_pickle else content)
    return made.getvalue()


def as_json(value: Any) -> bytes:
    """JSON of a changed value."""
    return with_extremes(json.dumps(value, default=repr)).encode()


def with_extremes(text: str) -> str:
    """A text with what stands for a deep list or a long number put in its place."""
    deep = "[" * DEPTH + "]" * DEPTH
    return text.replace(f'"{DEEP}"', deep).replace(f'"{LONG}"', "9" * DIGITS)


def toml_file(random: Random) -> bytes:
    """A configuration of configs/ with changed lines."""
    lines = random.choice(configurations()).decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(lines))
        name, equals, value = lines[place].partition(" = ")
        if equals:
            lines[place] = f"{name} = {_toml(random, value)}"
        else:
            lines.insert(place, random.choice((*lines, "[" * 5000, "a.b = 1", "[unet.a]")))
    raw = "\n".join(lines).encode(errors="surrogatepass")
    return changed_bytes(random, raw) if random.random() < 0.2 else raw


def _toml(random: Random, value: str) -> str:
    """Another value, as TOML or nearly so."""
    return with_extremes(json.dumps(odd_value(random, value), default=repr))


@cache
def configurations() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.toml"))]


def safetensors_file(good: bytes) -> Make:
    """Changes the header of a file of weights, or its bytes."""
    (size,) = struct.unpack_from("<Q", good)
    header, tensors = json.loads(good[8 : 8 + size]), good[8 + size :]

    def make(random: Random) -> bytes:
        if random.random() < 0.4:
            return changed_bytes(random, good)
        changed = as_json(changed_value(random, header))
        length = len(changed) if random.random() < 0.9 else random.choice(NUMBERS) % 2**64
        return struct.pack("<Q", length) + changed + tensors

    return make


def picture(random: Random) -> bytes:
    """An image file with changed bytes; the checksums of a PNG are mostly right."""
    raw = changed_bytes(random, random.choice(pictures()), pictures())
    return with_checksums(raw) if random.random() < 0.8 else raw


@cache
def pictures() -> list[bytes]:
    """One or more image files of each format that is read."""
    grey, deep = PIXELS[0], (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    colour = Image.fromarray(np.moveaxis(PIXELS, 0, -1).repeat(2, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [encoded(colour, kind) for kind in ("BMP", "GIF", "JPEG", "PPM", "TIFF", "WEBP")]
    files += [encoded(Image.fromarray(array), "PNG") for array in (grey, deep)]
    files += [encoded(Image.fromarray(deep), "TIFF"), encoded(colour, "JPEG", exif)]
    files += [encoded(colour, "PNG", exif), png((255, 0, 0, 128), mode="RGBA")]
    files += [encoded(colour.convert("P"), "PNG"), encoded(colour.convert("1"), "TIFF")]
    return files + [encoded(colour, kind) for kind in ("AVIF", "JPEG2000")]


def with_checksums(raw: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now; anything else as it is."""
    if not raw.startswith(PNG_START):
        return raw
    data, place = bytearray(raw), len(PNG_START)
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)


def npz_file(random: Random) -> bytes:
    """A file of arrays: changed itself, or an array in it, or the text of an array's header."""
    arrays = {"images": PIXELS, "labels": LABELS}
    names = random.choice((("images", "labels"), ("x_train", "y_train"), ("arr_0", "arr_1")))
    members = {f"{new}.npy": npy(array) for new, array in zip(names, arrays.values(), strict=True)}
    return _archive(random, members)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zip_file(random: Random) -> bytes:
    """A zip of pictures and StyleGAN's file of labels: changed itself, or a file in it."""
    labels = as_json(changed_value(random, {"labels": [["a/0.png", 1], ["b/0.png", 0]]}))
    members = {"a/0.png": png(1), "b/0.png": png(2), "b/1.png": png(3), "test/a/0.png": png(4)}
    if random.random() < 0.3:
        members["dataset.json"] = labels
    return _archive(random, members)


def _archive(random: Random, members: Mapping[str, bytes]) -> bytes:
    """A zip with a change in one of its members, or in its own bytes."""
    inside = random.random() < 0.5
    chosen = random.choice(list(members))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice((0, 8, 12, 14))) as archive:
        for name, content in members.items():
            changed = changed_bytes(random, content) if inside and name == chosen else content
            archive.writestr(name, changed)
    return buffer.getvalue() if inside else changed_bytes(random, buffer.getvalue())


def idx_file(random: Random) -> bytes:
    """MNIST's images, plain or compressed, changed before or after that."""
    raw = idx(PIXELS)
    if random.random() < 0.5:
        return changed_bytes(random, raw)
    if random.random() < 0.5:
        return gzip.compress(changed_bytes(random, raw))
    return changed_bytes(random, gzip.compress(raw))


def parquet_file(random: Random) -> bytes:
    """A table of pictures and labels with changed bytes."""
    return changed_bytes(random, random.choice(tables()))


@cache
def tables() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"image": [{"bytes": png(k), "path": None} for k in range(4)], "label": [0, 1, 0, 1]}
    found = []
    for compression in ("none", "snappy", "zstd"):
        buffer = io.BytesIO()
        pq.write_table(pa.table(rows), buffer, compression=compression)
        found.append(buffer.getvalue())
    return found


def message(random: Random) -> bytes:
    """Messages as they go over the wire: one with changed fields, or changed bytes; the length in
    front is mostly right."""
    good = encode(random.choice(MESSAGES))
    body = good[HEADER.size :]
    if random.random() < 0.6:
        changed = _packed(changed_value(random, msgpack.unpackb(body)))
    else:
        changed = changed_bytes(random, body)
    length = len(changed) if random.random() < 0.9 else random.choice(NUMBERS) % 2**32
    return HEADER.pack(length) + changed + (good if random.random() < 0.3 else b"")


def _packed(value: Any) -> bytes:
    """MessagePack of a changed value. Numbers that it has no form for become texts."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass", default=repr)
    deep: bytes = msgpack.packb(DEEP)
    return packed.replace(deep, b"\x91" * DEPTH + b"\xc0")
