"""A set of files as parts of bounded size, easy to carry from a machine that is there for minutes.

    mnist-1.part-1-of-2, mnist-1.part-2-of-2

Each part tells by its first line what it belongs to, with the SHA-256 of its own bytes and of all:
a part that is missing, damaged, or of another set is found before anything is unpacked.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from diffusion.atomic import atomic_folder
from diffusion.fields import ConfigError, from_dict

PART_BYTES = 16 << 20
MOST_PARTS = 8
HEADER_BYTES = 4096
"""The first line of a part, filled up with spaces."""
ROOM = MOST_PARTS * (PART_BYTES - HEADER_BYTES)
"""Bytes that all parts together can hold."""


class CarriedError(ValueError):
    """Parts cannot be written or read; the message names the file, and says what to do."""


@dataclass(frozen=True)
class Header:
    """What a part says of itself. `step` is how far the set's run had come."""

    name: str
    step: int
    number: int  # from 1
    count: int
    sha256: str  # of this part's bytes after the header
    all_sha256: str  # of those of all parts, one after the other

    @property
    def file_name(self) -> str:
        """What the part's file is named."""
        return f"{self.name}.part-{self.number}-of-{self.count}"


def pack(files: Mapping[str, Path], folder: Path, step: int) -> list[Path]:
    """Write files, by the names that they will have, as parts to `folder`, which is replaced as a
    whole and gives the set its name.

    Returns the parts. Raises CarriedError where they would be more than MOST_PARTS.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # weights do not shrink
        for name, path in files.items():
            packed.write(path, name)
    content = archive.getbuffer()
    if len(content) > ROOM:
        raise CarriedError(
            f"{folder.name}: {len(content):,} bytes do not fit into {MOST_PARTS} parts of "
            f"{PART_BYTES:,}: take a smaller network; a state has 12 bytes for each parameter"
        )
    size = PART_BYTES - HEADER_BYTES
    count = math.ceil(len(content) / size)
    whole = hashlib.sha256(content).hexdigest()
    with atomic_folder(folder) as partial:
        for i in range(count):
            part = content[i * size : (i + 1) * size]
            digest = hashlib.sha256(part).hexdigest()
            header = Header(folder.name, step, i + 1, count, digest, whole)
            line = json.dumps(asdict(header)).ljust(HEADER_BYTES - 1) + "\n"
            with (partial / header.file_name).open("wb") as file:
                file.write(line.encode())
                file.write(part)
    return sorted(folder.iterdir())


def unpack(folder: Path, to: Path) -> None:
    """Put the files of the parts in a folder into the folder `to`, whole or not at all; one that is
    there is replaced. Raises CarriedError."""
    headers = read_headers(folder)
    parts = []
    for header in headers:
        part = (folder / header.file_name).read_bytes()[HEADER_BYTES:]
        if hashlib.sha256(part).hexdigest() != header.sha256:
            raise _damaged(folder / header.file_name, "its bytes have another SHA-256")
        parts.append(part)
    content = b"".join(parts)
    if hashlib.sha256(content).hexdigest() != headers[0].all_sha256:
        raise _damaged(folder, "its parts together have another SHA-256")
    with zipfile.ZipFile(io.BytesIO(content)) as packed, atomic_folder(to) as partial:
        packed.extractall(partial)


def read_headers(folder: Path) -> list[Header]:
    """Read what the parts in a folder say of themselves, in order.

    Raises CarriedError where one is missing, or is none, or of another set than the others.
    """
    found = sorted(folder.glob(f"{folder.name}.part-*"))
    if not found:
        raise CarriedError(f"{folder}: it holds no {folder.name}.part-1-of-…; copy the parts there")
    headers = {path: _header(path) for path in found}
    newest = max(headers.values(), key=lambda header: header.step)
    for path, header in headers.items():
        if header.all_sha256 != newest.all_sha256 or header.file_name != path.name:
            raise CarriedError(
                f"{path}: a part of another set (step {header.step}) than of step {newest.step}; "
                "remove the parts that do not belong together"
            )
    numbers = {header.number for header in headers.values()}
    missing = sorted(set(range(1, newest.count + 1)) - numbers)
    if missing:
        names = ", ".join(f"{newest.name}.part-{i}-of-{newest.count}" for i in missing)
        raise CarriedError(f"{folder}: missing: {names}; copy all {newest.count} parts there")
    return sorted(headers.values(), key=lambda header: header.number)


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        line = file.read(HEADER_BYTES)
    try:
        return from_dict(Header, json.loads(line))
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise _damaged(path, f"its first line is no header: {error}") from error


def _damaged(path: Path, reason: str) -> CarriedError:
    return CarriedError(f"{path} is damaged: {reason}; copy it again")
