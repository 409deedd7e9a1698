"""What comes back: pictures, arrays, jobs and the model; and how an answer's bytes become these."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from app.client.errors import BrokenAnswer
from diffusion import pixels

Array = np.ndarray
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One image: the sample `index` of the seed, as the PNG that the server made."""

    index: int
    label: int | None
    png: bytes

    @property
    def image(self) -> Image.Image:
        """The picture, of mode L or RGB."""
        return _picture(self.png)


@dataclass(frozen=True)
class Samples:
    """Images of one seed, in index order. The same `model`, `seed`, `sampler`, `steps` and labels
    give the same bytes again."""

    id: str
    model: str
    seed: int
    sampler: str
    steps: int
    samples: tuple[Sample, ...]
    queued_s: float
    compute_s: float

    @property
    def images(self) -> list[Image.Image]:
        """Pictures of mode L or RGB."""
        return [sample.image for sample in self.samples]

    @property
    def array(self) -> Array:
        """uint8 (n,H,W,C)."""
        return np.stack([np.atleast_3d(np.asarray(image)) for image in self.images])

    @property
    def grid(self) -> Image.Image:
        """All of them as one near-square picture."""
        return pixels.picture(pixels.tile(self.array))


@dataclass(frozen=True)
class Trajectories:
    """The way from noise. `x_t` and `x0_hat`, what the model makes of that very state, are float32
    (n,frames,C,H,W), x_t unclipped; `t` int (frames,) counts as in the paper, T is noise; `index`
    and `label` int (n,), label -1: none."""

    seed: int
    index: Array
    label: Array
    t: Array
    x_t: Array
    x0_hat: Array

    @property
    def images(self) -> list[list[Image.Image]]:
        """x_t clipped to [-1, 1], as pictures: for each sample a list with one for each t."""
        return [[pixels.picture(x) for x in pixels.to_uint8(states)] for states in self.x_t]


@dataclass(frozen=True)
class Frame:
    """The state at t of the sample `index` of the seed, and what the model makes of it."""

    seed: int
    index: int
    t: int
    x_t: Image.Image
    x0_hat: Image.Image


@dataclass(frozen=True)
class Job:
    """A job as it was when the server told: `done` of `total` samples, at `rate` a second;
    `detail` says why it failed, or what it waits for."""

    id: str
    kind: Literal["sample", "denoise-trajectory"]
    model: str
    seed: int
    sampler: str
    steps: int
    status: Literal["waiting", "running", "finished", "failed", "expired"]
    detail: str | None
    total: int
    done: int
    rate: float | None
    left_s: float | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Model:
    """What is served: `image_shape` (C,H,W), T = `num_timesteps`, `alpha_bar` for t = 0..T, the
    classes' names (empty: unconditional), `sha256` of the weights, how it is run, and the limits
    of a request by their name."""

    name: str
    image_shape: list[int]
    num_timesteps: int
    schedule: str
    alpha_bar: list[float]
    variance: str
    classes: list[str]
    null_label: int | None
    parameters: int
    sha256: str
    data: str | None
    command: str | None
    trained: dict[str, Any]
    quality: dict[str, Any]
    runtime: str
    precision: str
    device: str
    batch_invariant: bool
    limits: dict[str, int]


@dataclass(frozen=True)
class Transfer:
    """Bytes of a download that are on disk, and of how many, where the server says."""

    done: int
    total: int | None


def read_samples(content: bytes) -> Samples:
    """From `SampleResponse`. Raises BrokenAnswer, also for a PNG with another SHA-256."""
    body = read_object(content)
    try:
        samples = tuple(_sample(entry) for entry in body["samples"])
        return _pick(Samples, {**body, **body["timing"], "samples": samples})
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a list of samples: {error!r}") from error


def read_trajectories(content: bytes, seed: int) -> Trajectories:
    """From npz. Raises BrokenAnswer."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _pick(Trajectories, {"seed": seed, **arrays})
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BrokenAnswer(f"not an npz archive: {error!r}") from error


def read_frame(data: str, seed: int) -> Frame:
    """From the data of a `frame` event. Raises BrokenAnswer."""
    body = read_object(data)
    try:
        pictures = {name: _picture(base64.b64decode(body[name])) for name in ("x_t", "x0_hat")}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BrokenAnswer(f"not a frame: {error!r}") from error
    return _pick(Frame, {**body, **pictures, "seed": seed})


def read_job(content: bytes | str) -> Job:
    """From `JobStatus`. Raises BrokenAnswer."""
    body = read_object(content)
    try:
        dates = {name: datetime.fromisoformat(body[name]) for name in ("created_at", "expires_at")}
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a job: {error!r}") from error
    return _pick(Job, {**body, **dates})


def read_model(content: bytes) -> Model:
    """From `GET /model`. Raises BrokenAnswer."""
    return _pick(Model, read_object(content))


def read_object(content: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises BrokenAnswer."""
    try:
        body = json.loads(content)
    except ValueError as error:
        raise BrokenAnswer(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BrokenAnswer(f"not a JSON object: {str(body)[:80]}")
    return body


def _pick(kind: type[T], body: Mapping[str, Any]) -> T:
    """The fields of a data class out of an object; a newer server may send more."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    missing = [name for name in names if name not in body]
    if missing:
        raise BrokenAnswer(f"{kind.__name__} without {', '.join(missing)}")
    return kind(**{name: body[name] for name in names})


def _sample(entry: Mapping[str, Any]) -> Sample:
    png = base64.b64decode(entry["png"])
    if hashlib.sha256(png).hexdigest() != entry["sha256"]:
        raise BrokenAnswer(f"the image {entry['index']} was damaged on its way")
    return Sample(entry["index"], entry["label"], png)


def _picture(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image
