"""The pictures and states that a client returns. They can be copied and pickled, and a notebook
shows them."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.client import display
from diffusion import pixels

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Sample:
    """One image, the sample `index` of its seed. `png` has the bytes that the server made."""

    index: int
    label: int | None
    png: bytes

    @property
    def image(self) -> Image.Image:
        """The image as a PIL image of mode L or RGB."""
        return decode_png(self.png)

    def __repr__(self) -> str:
        return f"Sample(index={self.index}, label={self.label}, png=<{len(self.png)} bytes>)"

    def _repr_png_(self) -> bytes:
        return display.png(self.image)

    def _repr_html_(self) -> str:
        label = "" if self.label is None else f", label {self.label}"
        caption = f"image {self.index}{label}"
        return display.figure(display.picture(self.image, caption), caption)


@dataclass(frozen=True, repr=False)
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
        return _stacked(self.samples)

    @property
    def grid(self) -> Image.Image:
        """The images side by side in one near-square PIL image."""
        return pixels.picture(pixels.tile(self.array))

    def __repr__(self) -> str:
        return f"Samples({self._summary})"

    def _repr_png_(self) -> bytes:
        return display.png(self._first_grid)

    def _repr_html_(self) -> str:
        n = len(self.samples)
        left_out = f"; the first {display.MAX_IMAGES} are shown" if n > display.MAX_IMAGES else ""
        caption = f"{self._summary}, {self.compute_s:.1f} s{left_out}"
        return display.figure(display.picture(self._first_grid, self._summary), caption)

    @property
    def _summary(self) -> str:
        images = display.number_of(len(self.samples), "image")
        steps = display.number_of(self.steps, "step")
        return f"{images} of {self.model}, seed {self.seed}, {self.sampler} with {steps}"

    @property
    def _first_grid(self) -> Image.Image:
        return pixels.picture(pixels.tile(_stacked(self.samples[: display.MAX_IMAGES])))


@dataclass(frozen=True, repr=False, eq=False)
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trajectories):
            return NotImplemented
        mine, others = vars(self), vars(other)
        return all(np.array_equal(mine[name], others[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]  # as for other objects with arrays

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x_t.shape))
        return f"Trajectories({self._summary}; x_t and x0_hat are float32 {shape})"

    def _repr_png_(self) -> bytes:
        return display.png(self._strip)

    def _repr_html_(self) -> str:
        shown = ", ".join(str(self.t[k]) for k in self._columns)
        n = len(self.x_t)
        left_out = f"; the first {display.MAX_ROWS} are shown" if n > display.MAX_ROWS else ""
        caption = f"{self._summary}{left_out}; from left to right, t = {shown}"
        return display.figure(display.picture(self._strip, self._summary), caption)

    @property
    def _summary(self) -> str:
        images = display.number_of(len(self.x_t), "image")
        return f"{images} of seed {self.seed}, t = {self.t[0]} .. {self.t[-1]}"

    @property
    def _columns(self) -> list[int]:
        """Which frames the strip shows."""
        return display.spread(len(self.t), display.MAX_COLUMNS)

    @property
    def _strip(self) -> Image.Image:
        """x_t as a film strip: a row for each sample, a column for each frame."""
        states = pixels.to_uint8(self.x_t[: display.MAX_ROWS, self._columns])
        return pixels.picture(pixels.tile(states.reshape(-1, *states.shape[2:]), states.shape[1]))


@dataclass(frozen=True, repr=False, eq=False)
class Encoding:
    """The states x_t, float32 (n,C,H,W), from which DDIM makes pictures again, and their t."""

    t: int
    x_t: Array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoding):
            return NotImplemented
        return self.t == other.t and np.array_equal(self.x_t, other.x_t)

    __hash__ = None  # type: ignore[assignment]  # as for other objects with arrays

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x_t.shape))
        return f"Encoding(t={self.t}; x_t is float32 {shape})"


@dataclass(frozen=True, repr=False)
class Frame:
    """One sample's state at t, and the model's prediction of the image from it, both clipped."""

    seed: int
    index: int
    t: int
    x_t: Image.Image
    x0_hat: Image.Image

    def __repr__(self) -> str:
        return f"Frame(seed={self.seed}, index={self.index}, t={self.t})"

    def _repr_png_(self) -> bytes:
        both = np.concatenate([np.atleast_3d(np.asarray(x)) for x in (self.x_t, self.x0_hat)], 1)
        return display.png(pixels.picture(both))

    def _repr_html_(self) -> str:
        pictures = display.picture(self.x_t, "x_t") + " " + display.picture(self.x0_hat, "x0_hat")
        caption = f"x_t and x0_hat of image {self.index} of seed {self.seed} at t = {self.t}"
        return display.figure(pictures, caption)


def decode_png(png: bytes) -> Image.Image:
    """Decode a picture. Raises OSError, ValueError or SyntaxError when it is damaged."""
    image = Image.open(io.BytesIO(png))
    image.load()  # pillow decodes late: a damaged picture must be found here
    return image


def _stacked(samples: tuple[Sample, ...]) -> Array:
    """The samples' images as one uint8 array (n,H,W,C)."""
    # A grey image has no axis of channels.
    return np.stack([np.atleast_3d(np.asarray(sample.image)) for sample in samples])
