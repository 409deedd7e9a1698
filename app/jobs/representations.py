"""A finished job's result in each representation: the bytes of the synchronous answer."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.generation import encoding
from app.generation.collect import Needs, Result
from app.generation.cost import plan_bytes
from app.generation.encoding import Encoded
from app.generation.formats import SAMPLE, TRAJECTORY, Format
from app.generation.plan import Plan
from app.generation.zip_stream import (
    BLOCK_BYTES,
    Body,
    Content,
    Entry,
    archive,
    archive_of_many,
    memory_file,
    npy_file,
    npy_file_of_rows,
)
from app.jobs import result_store
from app.jobs.errors import SampleLost
from app.jobs.result_store import ResultStore
from app.jobs.store import SampleIndex
from app.jobs.tables import Kind
from diffusion import pixels

Array = np.ndarray
COPIES = 3
"""Times that one sample's bytes are in memory at once while a result is streamed: as a file, and as
arrays, pixels or text."""


@dataclass(frozen=True)
class Stored:
    """A finished job: its plan, its samples' files, and what the database knows of these."""

    kind: Kind
    plan: Plan
    timing: dict[str, float]
    results: ResultStore
    index: SampleIndex

    def read(self, number: int) -> bytes:
        """The content of one sample's file, which is what was written; numbers count from 0 in the
        job. Blocks. Raises SampleLost, or StorageUnavailable."""
        content = self.results.read(self.plan.submit.id, self.plan.submit.indices[number])
        if content is None:
            raise SampleLost(number, "its file is missing")
        if len(content) != self.index.size[number] or not self._is_intact(number, content):
            raise SampleLost(number, "its file is damaged")
        return content

    def lost(self) -> list[int]:
        """Numbers of the samples whose files are missing or of another size. Blocks; the contents
        are not read. Raises StorageUnavailable."""
        sizes = self.results.sizes(self.plan.submit.id)
        expected = zip(self.plan.submit.indices, self.index.size.tolist(), strict=True)
        return [
            number
            for number, (index, size) in enumerate(expected)
            if sizes.get(result_store.file_name(index)) != size
        ]

    def _is_intact(self, number: int, content: bytes) -> bool:
        first, second = int(self.index.first_crc[number]), int(self.index.second_crc[number])
        if not self.plan.shown_times:
            return zlib.crc32(content) == first
        half = len(content) // 2
        view = memoryview(content)
        return zlib.crc32(view[:half]) == first and zlib.crc32(view[half:]) == second

    def image(self, number: int) -> Array:
        """One sample's image, uint8 (H,W,C), of a job without frames."""
        return result_store.decode_image(self.read(number))

    def trajectory(self, number: int) -> tuple[Array, Array]:
        """One sample's x_t and x0_hat, float32 (frames,C,H,W), of a job with frames."""
        return result_store.decode_trajectory(self.plan, self.read(number))

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.plan.submit.indices)


def sample_json(stored: Stored) -> Iterator[bytes]:
    """JSON of `SampleResponse`, in blocks."""
    plan = stored.plan

    def entry(i: int) -> dict[str, object]:
        return encoding.sample_entry(plan.submit.indices[i], plan.labels[i], stored.read(i))

    entries = map(entry, range(stored.n))
    return encoding.json_blocks(plan, "samples", entries, stored.timing)


def sample_zip(stored: Stored) -> Body:
    """Zip of the images as PNG, named by index, and request.json, which repeats the request."""
    request, content = memory_file("request.json", encoding.request_file(stored.plan))
    sizes, crcs = stored.index.size, stored.index.first_crc

    def entry(i: int) -> Entry:
        if i == stored.n:
            return request
        return Entry(f"{stored.plan.submit.indices[i]:06d}.png", int(sizes[i]), int(crcs[i]))

    def read(i: int) -> Content:
        return content.read(0) if i == stored.n else stored.read(i)

    return archive_of_many(stored.n + 1, entry, read)


def sample_npz(stored: Stored) -> Body:
    """npz of `images` uint8 (n,H,W,C), `index` and `label` int64 (n,)."""
    C, H, W = stored.plan.image_shape
    images = npy_file_of_rows(
        "images",
        np.dtype(np.uint8),
        (stored.n, H, W, C),
        stored.index.second_crc,
        lambda i: stored.image(i).tobytes(),
    )
    names = encoding.names(stored.plan)
    return archive([images, *(npy_file(name, array) for name, array in names.items())])


def trajectory_json(stored: Stored) -> Iterator[bytes]:
    """JSON of `TrajectoryResponse`, in blocks."""
    plan = stored.plan

    def entry(i: int) -> dict[str, object]:
        x_t, x_0_hat = map(_to_pixels, stored.trajectory(i))
        return encoding.trajectory_entry(plan, plan.submit.indices[i], plan.labels[i], x_t, x_0_hat)

    entries = map(entry, range(stored.n))
    return encoding.json_blocks(plan, "trajectories", entries, stored.timing)


def trajectory_npz(stored: Stored) -> Body:
    """npz of `x_t` and `x0_hat` float32 (n,frames,C,H,W), `t` int64 (frames,), `index` and `label`
    int64 (n,)."""
    plan = stored.plan
    shape = stored.n, len(plan.shown_times), *plan.image_shape
    halves = [("x_t", stored.index.first_crc), ("x0_hat", stored.index.second_crc)]

    def read(half: int, i: int) -> bytes:
        return stored.trajectory(i)[half].tobytes()

    arrays = [
        npy_file_of_rows(name, result_store.FLOAT, shape, crcs, partial(read, half))
        for half, (name, crcs) in enumerate(halves)
    ]
    names = {"t": np.array(plan.shown_times), **encoding.names(plan)}
    return archive([*arrays, *(npy_file(name, array) for name, array in names.items())])


def load(stored: Stored, needs: Needs) -> Result:
    """What a format needs of the result, one file after another; blocks. Raises SampleLost."""
    result = Result(stored.plan, needs)
    result.timing = stored.timing
    for i in range(stored.n):
        if not stored.plan.shown_times:
            result.x_0[i] = stored.image(i)
            continue
        for k, (x_t, x_0_hat) in enumerate(zip(*stored.trajectory(i), strict=True)):
            result.put_frame(i, k, x_t, x_0_hat)
    return result


def picture(stored: Stored, media_type: str) -> Encoded:
    """One of the PICTURES; blocks. Raises SampleLost."""
    chosen = PICTURES[stored.kind][media_type]
    return chosen.encode(load(stored, chosen.needs))


def memory_bytes(stored: Stored, media_type: str) -> int:
    """Memory that a representation takes at once: a picture's whole, or one sample of a stream with
    what is made of it; and what is known of all samples."""
    largest = int(stored.index.size.max(initial=0))
    chosen = PICTURES[stored.kind].get(media_type)
    if chosen is not None:
        return chosen.cost(stored.plan) + largest
    return plan_bytes(stored.n) + COPIES * (largest + 2 * BLOCK_BYTES)


STREAMS: dict[Kind, dict[str, Callable[[Stored], Body | Iterator[bytes]]]] = {
    "sample": {
        "application/json": sample_json,
        "application/zip": sample_zip,
        "application/x-npz": sample_npz,
    },
    "denoise-trajectory": {
        "application/json": trajectory_json,
        "application/x-npz": trajectory_npz,
    },
}
"""Representations that are never whole in memory, by kind of job and media type. A Body has a known
size and can be read from any byte on."""
PICTURES: dict[Kind, dict[str, Format]] = {
    "sample": {"image/png": SAMPLE["image/png"]},
    "denoise-trajectory": {
        media_type: chosen
        for media_type, chosen in TRAJECTORY.items()
        if media_type.startswith("image/")
    },
}
"""Representations that are made of all samples at once, by kind of job and media type."""


def _to_pixels(pictures: Array) -> Array:
    """uint8 (frames,H,W,C) of float32 (frames,C,H,W), a frame at a time: the conversion takes
    several times its bytes."""
    return np.stack([pixels.to_uint8(picture) for picture in pictures])
