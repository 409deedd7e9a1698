"""The results that a client returns, and the functions that read them from an answer's bytes."""

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
    """One image, the sample `index` of its seed. `png` has the bytes that the server made."""

    index: int
    label: int | None
    png: bytes

    @property
    def image(self) -> Image.Image:
        """The image as a PIL image of mode L or RGB."""
        return _picture(self.png)


@dataclass(frozen=True)
class Samples:
    """The images of one seed, in index order, and how they were made.

    `queued_s` is the seconds from the request's arrival to its first step, `compute_s` those from
    there to its last. The same request with this `seed` gives the same bytes again.
    """

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
        """The images as PIL images of mode L or RGB."""
        return [sample.image for sample in self.samples]

    @property
    def array(self) -> Array:
        """The images as one uint8 array (n,H,W,C)."""
        # A grey image has no axis of channels.
        return np.stack([np.atleast_3d(np.asarray(image)) for image in self.images])

    @property
    def grid(self) -> Image.Image:
        """The images side by side in one near-square PIL image."""
        return pixels.picture(pixels.tile(self.array))


@dataclass(frozen=True)
class Trajectories:
    """The states of images on their way from noise.

    `x_t` (n,frames,C,H,W) float32 has the states, not clipped; `x0_hat`, of the same shape, the
    model's prediction of the image from each state (eq. 15), clipped. `t` (frames,) int counts as
    in the paper: T is noise, 0 is the image. `index` and `label` (n,) int name the samples; label
    -1 means none.
    """

    seed: int
    index: Array
    label: Array
    t: Array
    x_t: Array
    x0_hat: Array

    @property
    def images(self) -> list[list[Image.Image]]:
        """x_t clipped to [-1, 1], as PIL images: a list for each sample, an image for each t."""
        return [[pixels.picture(x) for x in pixels.to_uint8(states)] for states in self.x_t]


@dataclass(frozen=True)
class Frame:
    """One sample's state at t, and the model's prediction of the image from it, both clipped."""

    seed: int
    index: int
    t: int
    x_t: Image.Image
    x0_hat: Image.Image


@dataclass(frozen=True)
class Job:
    """A job's status at the time that the server sent it.

    `done` of `total` samples are made and stored, `rate` of them per second, and about `left_s`
    seconds are left. `detail` says why the job failed, or what it waits for.
    """

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
    """The model that the server serves, and how it runs it.

    `image_shape` is (C,H,W), `num_timesteps` is T, `alpha_bar` has a value for each t = 0..T (1 at
    t = 0). `classes` has the labels' names and is empty for an unconditional model. `sha256` is of
    the weights file. `limits` has the limits of a request by name.
    """

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
    """Progress of a download: bytes that are on disk, and their total, or None if it is unknown."""

    done: int
    total: int | None


def read_samples(content: bytes) -> Samples:
    """Read a JSON answer of /sample. Raises BrokenAnswer when it is damaged, which includes a PNG
    that does not match its SHA-256."""
    body = read_object(content)
    try:
        samples = tuple(_sample(entry) for entry in body["samples"])
        return _pick(Samples, {**body, **body["timing"], "samples": samples})
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a list of samples: {error!r}") from error


def read_trajectories(content: bytes, seed: int) -> Trajectories:
    """Read an npz answer of /denoise-trajectory. Raises BrokenAnswer when it is damaged."""
    try:
        # A pickle could run code that the server, or who pretends to be it, has chosen.
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _pick(Trajectories, {"seed": seed, **arrays})
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        # RuntimeError: zipfile's for flags and methods that it cannot read
        raise BrokenAnswer(f"not an npz archive: {error!r}") from error


def read_frame(data: str, seed: int) -> Frame:
    """Read the data of a `frame` event. Raises BrokenAnswer when it is damaged."""
    body = read_object(data)
    try:
        pictures = {name: _picture(base64.b64decode(body[name])) for name in ("x_t", "x0_hat")}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BrokenAnswer(f"not a frame: {error!r}") from error
    return _pick(Frame, {**body, **pictures, "seed": seed})


def read_job(content: bytes | str) -> Job:
    """Read a job's status in JSON. Raises BrokenAnswer when it is none."""
    body = read_object(content)
    try:
        dates = {name: datetime.fromisoformat(body[name]) for name in ("created_at", "expires_at")}
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswer(f"not a job: {error!r}") from error
    return _pick(Job, {**body, **dates})


def read_model(content: bytes) -> Model:
    """Read the answer of GET /model. Raises BrokenAnswer when it is no model."""
    return _pick(Model, read_object(content))


def read_object(content: bytes | str) -> dict[str, Any]:
    """Read a JSON object. Raises BrokenAnswer for anything else."""
    try:
        body = json.loads(content)
    except ValueError as error:
        raise BrokenAnswer(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BrokenAnswer(f"not a JSON object: {str(body)[:80]}")
    return body


def _pick(kind: type[T], body: Mapping[str, Any]) -> T:
    """Build a data class from an object. Other fields are ignored: a newer server may send more."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    missing = [name for name in names if name not in body]
    if missing:
        raise BrokenAnswer(f"{kind.__name__} without {', '.join(missing)}")
    return kind(**{name: body[name] for name in names})


def _sample(entry: Mapping[str, Any]) -> Sample:
    png = base64.b64decode(entry["png"])
    if hashlib.sha256(png).hexdigest() != entry["sha256"]:
        reason = "it was damaged on its way: its SHA-256 does not match"
        raise BrokenAnswer(f"image {entry['index']}: {reason}")
    return Sample(entry["index"], entry["label"], png)


def _picture(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()  # pillow decodes late: a damaged picture must be found here
    return image
