"""A finished job's result in each representation: the bytes of the synchronous answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.generation import encoding
from app.generation.collect import Result
from app.generation.plan import Plan
from app.jobs import result_store
from app.jobs.errors import ResultTooLarge
from app.jobs.result_store import ResultStore
from app.jobs.store import SampleIndex
from app.jobs.tables import Kind
from app.jobs.zip_stream import (
    BLOCK_BYTES,
    Body,
    Entry,
    archive,
    archive_of_many,
    memory_file,
    npy_file,
    npy_file_of_rows,
)
from diffusion import pixels

Array = np.ndarray


@dataclass(frozen=True)
class Stored:
    """A finished job: its plan, its samples' files, and what the database knows of these."""

    kind: Kind
    plan: Plan
    timing: dict[str, float]
    results: ResultStore
    index: SampleIndex

    def read(self, number: int) -> bytes:
        """The content of one sample's file; numbers count from 0 in the job. Blocks."""
        return self.results.read(self.plan.submit.id, self.plan.submit.indices[number])

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

    return _json_stream(stored, "samples", entry)


def sample_zip(stored: Stored) -> Body:
    """Zip of the images as PNG, named by index, and request.json, which repeats the request."""
    sizes, crcs = stored.index.size.tolist(), stored.index.first_crc.tolist()
    entries = [
        Entry(f"{index:06d}.png", size, crc)
        for index, size, crc in zip(stored.plan.submit.indices, sizes, crcs, strict=True)
    ]
    request, content = memory_file("request.json", encoding.request_file(stored.plan))

    def read(i: int) -> bytes:
        return stored.read(i) if i < stored.n else content.read(0)

    return archive_of_many([*entries, request], read)


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
        x_t, x_0_hat = stored.trajectory(i)
        return encoding.trajectory_entry(plan, plan.submit.indices[i], plan.labels[i], x_t, x_0_hat)

    return _json_stream(stored, "trajectories", entry)


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


def load(stored: Stored, max_bytes: int) -> Result:
    """The whole result in memory, as pictures need it; blocks. Raises ResultTooLarge when it would
    take more than `max_bytes`."""
    plan = stored.plan
    shape = stored.n, len(plan.shown_times), *plan.image_shape
    size = stored.n * max(1, 2 * len(plan.shown_times)) * result_store.image_bytes(plan)
    if size > max_bytes:
        raise ResultTooLarge(
            f"a picture of this result would need {size} bytes; this server's limit is "
            f"{max_bytes}: ask for another representation",
        )
    x_0 = np.zeros((stored.n, *plan.image_shape), np.float32)
    x_t, x_0_hat = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i in range(stored.n):
        if plan.shown_times:
            x_t[i], x_0_hat[i] = stored.trajectory(i)
        else:
            x_0[i] = pixels.to_float(stored.image(i))
    return Result(plan, x_0, x_t, x_0_hat, stored.timing)


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
PICTURES: dict[Kind, dict[str, Callable[[Result], bytes]]] = {
    "sample": {"image/png": encoding.sample_png},
    "denoise-trajectory": {
        "image/png": encoding.film_strip,
        "image/gif": encoding.trajectory_gif,
        "image/webp": encoding.trajectory_webp,
        "image/apng": encoding.trajectory_apng,
    },
}
"""Representations that need the whole result in memory, by kind of job and media type."""


def _json_stream(
    stored: Stored, name: str, entry: Callable[[int], dict[str, object]]
) -> Iterator[bytes]:
    block = bytearray(encoding.to_json({**stored.plan.header, name: []})[:-2])
    for i in range(stored.n):
        block += b"," * (i > 0) + encoding.to_json(entry(i))
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block) + b"]," + encoding.to_json({"timing": stored.timing})[1:]
