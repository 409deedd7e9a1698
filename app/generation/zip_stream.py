"""Zip archives and npz files that are never whole in memory: the sizes of their parts are known.

The bytes are those that `zipfile` writes for the same files, without compression or dates.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

Array = np.ndarray

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")
MAX_16, MAX_32 = 0xFFFF, 0xFFFFFFFF
VERSION, VERSION_64 = 20, 45
UNIX = 3 << 8
READABLE = 0o600 << 16
DATE = 1 << 5 | 1  # 1980-01-01, at 00:00:00
BLOCK_BYTES = 1 << 18
"""Parts are joined to blocks of about this size, and larger ones are cut."""
Content = bytes | memoryview


@dataclass(frozen=True)
class Body:
    """Bytes in parts: `sizes` int64 (parts,) in bytes, and `read(i)`, the content of part i."""

    sizes: Array
    read: Callable[[int], Content]

    @classmethod
    def of(cls, content: Content) -> "Body":
        """A body of one part, which is in memory."""
        return cls(np.array([len(content)]), lambda _: content)

    @classmethod
    def join(cls, bodies: Sequence["Body"]) -> "Body":
        """A body of several bodies, one after the other."""
        first = np.array([0, *accumulate(len(body.sizes) for body in bodies)])

        def read(i: int) -> Content:
            body = int(np.searchsorted(first, i, side="right")) - 1
            return bodies[body].read(i - int(first[body]))

        return cls(np.concatenate([body.sizes for body in bodies]), read)

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return int(self.sizes.sum())

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes start..stop-1, in blocks; only the parts that hold them are read."""
        ends = np.cumsum(self.sizes)
        block, at = bytearray(), start
        for i in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
            if at >= stop:
                break
            begin = int(ends[i]) - int(self.sizes[i])
            part = memoryview(self.read(i))[at - begin : stop - begin]
            for first in range(0, len(part), BLOCK_BYTES):
                block += part[first : first + BLOCK_BYTES]
                if len(block) >= BLOCK_BYTES:
                    yield bytes(block)
                    block.clear()
            at = int(ends[i])
        if block:
            yield bytes(block)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive: its name, its size in bytes and its CRC-32."""

    name: str
    size: int
    crc: int

    @property
    def header_size(self) -> int:
        """Bytes of `header`."""
        return LOCAL.size + len(self.name) + (20 if self.size >= MAX_32 else 0)

    @property
    def header(self) -> bytes:
        """The archive's bytes right before the file's content: stored without compression or date
        (local file header of the zip specification, APPNOTE 4.3.7)."""
        name, size, extra, version = self.name.encode("ascii"), self.size, b"", VERSION
        if size >= MAX_32:
            extra, size, version = struct.pack("<2H2Q", 1, 16, size, size), MAX_32, VERSION_64
        fields = (version, 0, 0, 0, DATE, self.crc, size, size, len(name), len(extra))
        return LOCAL.pack(b"PK\3\4", *fields) + name + extra

    def listed(self, offset: int) -> bytes:
        """The entry in the archive's directory for a file whose header is at `offset` (central
        directory header, APPNOTE 4.3.12)."""
        name, size, version = self.name.encode("ascii"), self.size, VERSION
        large = []
        if size >= MAX_32:
            large, size = [size, size], MAX_32
        if offset >= MAX_32:
            large, offset = [*large, offset], MAX_32
        extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        version = VERSION_64 if large else VERSION
        fields = (version | UNIX, version, 0, 0, 0, DATE, self.crc, size, size, len(name))
        rest = (len(extra), 0, 0, 0, READABLE, offset)
        return CENTRAL.pack(b"PK\1\2", *fields, *rest) + name + extra


def directory(entries: Iterable[Entry]) -> bytes:
    """The end of an archive of these files, in this order: its directory and where that starts
    (APPNOTE 4.3.12 to 4.3.16)."""
    listing, start, count = bytearray(), 0, 0
    for entry in entries:
        count += 1
        listing += entry.listed(start)
        start += entry.header_size + entry.size
    size, end_64 = len(listing), b""
    if count >= MAX_16 or start >= MAX_32 or size >= MAX_32:
        versions = (VERSION_64, VERSION_64)
        end_64 = END_64.pack(b"PK\6\6", 44, *versions, 0, 0, count, count, size, start)
        end_64 += LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
        count, size, start = min(count, MAX_16), min(size, MAX_32), min(start, MAX_32)
    return bytes(listing) + end_64 + END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0)


def archive(files: Sequence[tuple[Entry, Body]]) -> Body:
    """A zip of a few files, each of which may have many parts."""
    parts = [body for entry, content in files for body in (Body.of(entry.header), content)]
    return Body.join([*parts, Body.of(directory([entry for entry, _ in files]))])


def archive_of_many(
    count: int, entry: Callable[[int], Entry], read: Callable[[int], Content]
) -> Body:
    """A zip of many files of one part each: `entry(i)` and `read(i)` are file i and its content.
    They are called whenever one is needed, so a zip of 50,000 files takes little memory."""

    def entries() -> Iterator[Entry]:
        return map(entry, range(count))

    sizes = np.fromiter((e.header_size + e.size for e in entries()), np.int64, count)
    files = Body(sizes, lambda i: entry(i).header + bytes(read(i)))
    return Body.join([files, Body.of(directory(entries()))])


def memory_file(name: str, content: bytes) -> tuple[Entry, Body]:
    """A file for `archive` whose content is in memory."""
    return Entry(name, len(content), zlib.crc32(content)), Body.of(content)


def npy_file(name: str, array: Array) -> tuple[Entry, Body]:
    """A file for `archive` that makes it an npz with this array, which is in memory and is not
    copied."""
    content = np.ascontiguousarray(array).data.cast("B")
    start = _npy_start(array.dtype, array.shape)
    crc = zlib.crc32(content, zlib.crc32(start))
    entry = Entry(f"{name}.npy", len(start) + len(content), crc)
    return entry, Body.join([Body.of(start), Body.of(content)])


def npy_file_of_rows(
    name: str, dtype: np.dtype, shape: tuple[int, ...], crcs: Array, read: Callable[[int], Content]
) -> tuple[Entry, Body]:
    """A file for `archive` that makes it an npz with an array whose row i has the bytes `read(i)`
    and the CRC-32 `crcs[i]`."""
    start = _npy_start(dtype, shape)
    row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    rows = Body(np.full(shape[0], row_bytes), read)
    crc = joined_crc(zlib.crc32(start), crcs, row_bytes)
    entry = Entry(f"{name}.npy", len(start) + shape[0] * row_bytes, crc)
    return entry, Body.join([Body.of(start), rows])


def _npy_start(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What a .npy file has before an array's bytes."""
    buffer = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def joined_crc(crc: int, crcs: Array, length: int) -> int:
    """The CRC-32 of bytes with CRC-32 `crc`, followed by pieces of `length` bytes each, whose
    CRC-32 are `crcs`.

    crc(A || B) = M crc(A) ^ crc(B), with M linear over bits and dependent on B's length alone: its
    columns are what a piece of zeros makes of each bit.
    """
    zeros = bytes(length)
    of_zeros = zlib.crc32(zeros)
    columns = [zlib.crc32(zeros, 1 << bit) ^ of_zeros for bit in range(32)]
    for following in crcs.tolist():
        moved = 0
        while crc:
            low = crc & -crc
            moved ^= columns[low.bit_length() - 1]
            crc ^= low
        crc = moved ^ following
    return crc
