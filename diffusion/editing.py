"""Where the chains of a request begin, if not at noise, and which part of a picture they keep: what
a request may say of that, and what is refused. `diffusion.starts` makes the states themselves.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion.process import Process
from diffusion.reverse import Known
from diffusion.spacing import SamplerName, Spacing
from diffusion.starts import between_seeds, mixed, noised

MAX_RESAMPLINGS = 20
MASKED: tuple[SamplerName, ...] = ("ddpm", "ddim")
"""The samplers that fill in a mask. The others remember steps before a jump back, and what they
remember would be of another state."""


class StartError(ValueError):
    """A start, or a mask, that cannot be. `field` is the one at fault."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed: {reason}")
        self.field = field
        self.value = value
        self.reason = reason


class Samples(NamedTuple):
    """Some samples of a request: B of them."""

    which: slice  # of the request's n samples
    seeds: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, by which their noise is drawn


class Wanted(NamedTuple):
    """What a request asks for besides, as far as a start must fit it."""

    n: int
    image_shape: tuple[int, int, int]  # C, H, W
    num_timesteps: int
    is_deterministic: bool  # the sampler adds no noise
    has_mask: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Start(ABC):
    """Where chains begin: at the paper's t, or at T for None."""

    t: int | None = None

    @abstractmethod
    def check(self, wanted: Wanted) -> None:
        """Raise StartError where it does not fit the model and the rest of the request."""

    @abstractmethod
    def states(self, process: Process, t: int, samples: Samples) -> Tensor:
        """Make the first states, (B,C,H,W) float32, of a chain whose first step is at the code's
        t."""

    @property
    def shares_noise(self) -> bool:
        """Do all samples have the noise of the seed's index 0, so that they differ in the start
        alone?"""
        return False

    def spacing(self, whole: Spacing) -> Spacing:
        """Keep of a chain's timesteps those that it takes from here. Raises StartError for a t
        below all."""
        if self.t is None:
            return whole
        try:
            return whole.up_to(self.t)
        except ValueError as error:
            raise StartError("t", self.t, str(error)) from None

    def _check_t(self, wanted: Wanted) -> None:
        if self.t is not None and not 1 <= self.t <= wanted.num_timesteps:
            raise StartError("t", self.t, f"it must be 1..{wanted.num_timesteps}")


@dataclass(frozen=True, eq=False, kw_only=True)
class FromPicture(Start):
    """At q(x_t | x_0) of a picture, or of one for each sample."""

    x_0: Tensor  # (1 or n,C,H,W) float32 in [-1, 1]

    def check(self, wanted: Wanted) -> None:
        """Raise StartError as `Start` says; without a mask a t must be given."""
        _check_count("start_image", self.x_0, wanted.image_shape, wanted.n)
        if self.t is None and not wanted.has_mask:
            reason = "without a mask it must say how much of the picture is kept, 1..T"
            raise StartError("t", None, reason)
        self._check_t(wanted)

    def states(self, process: Process, t: int, samples: Samples) -> Tensor:
        """Noise the pictures, each by the eps of its sample."""
        x_0 = _of_each(self.x_0, samples).to(samples.seeds.device)
        times = torch.full_like(samples.seeds, t)
        return noised(process, x_0, times, samples.seeds, samples.indices)


@dataclass(frozen=True, eq=False, kw_only=True)
class BetweenPictures(Start):
    """Between two pictures that are noised to t by the same eps: the paper's Fig. 8."""

    x_0: Tensor  # (2,C,H,W) float32 in [-1, 1]
    weights: tuple[float, ...]  # of the second: one for all samples, or one for each

    def check(self, wanted: Wanted) -> None:
        """Raise StartError as `Start` says."""
        _check_weights(self.weights, wanted)
        if self.t is None:
            raise StartError("t", None, "it must say how far the pictures are noised, 1..T")
        self._check_t(wanted)

    def states(self, process: Process, t: int, samples: Samples) -> Tensor:
        """Noise both pictures, and mix them."""
        times, device = torch.full_like(samples.seeds, t), samples.seeds.device
        first, second = (
            noised(process, x_0.expand(len(times), -1, -1, -1), times, *samples[1:])
            for x_0 in self.x_0.to(device)
        )
        return mixed(first, second, _weights(self.weights, samples).to(device))

    @property
    def shares_noise(self) -> bool:
        """With a list of weights, as in Fig. 8."""
        return len(self.weights) > 1


@dataclass(frozen=True, eq=False, kw_only=True)
class BetweenSeeds(Start):
    """Between x_T of two seeds, at samples of the same index."""

    seeds: tuple[int, int]
    weights: tuple[float, ...]  # of the second: one for all samples, or one for each
    image_shape: tuple[int, int, int]  # C, H, W

    def check(self, wanted: Wanted) -> None:
        """Raise StartError as `Start` says; the sampler must add no noise."""
        _check_weights(self.weights, wanted)
        if min(self.seeds) < 0 or max(self.seeds) >= 2**53:
            raise StartError("seeds", list(self.seeds), f"they must be 0..{2**53 - 1}")
        if not wanted.is_deterministic:
            reason = "they need a sampler without noise: ddim with eta 0, dpmpp, unipc or ipndm"
            raise StartError("seeds", list(self.seeds), reason)

    def states(self, process: Process, t: int, samples: Samples) -> Tensor:  # noqa: ARG002
        """Go from one x_T to the other on the sphere; both are at T, whatever the process."""
        weights = _weights(self.weights, samples)
        return between_seeds(self.seeds, samples.indices, weights, self.image_shape)

    @property
    def shares_noise(self) -> bool:
        """With a list of weights, so that all samples lie between the same two."""
        return len(self.weights) > 1


@dataclass(frozen=True, eq=False, kw_only=True)
class FromState(Start):
    """At a state that is given, or one for each sample."""

    x_t: Tensor  # (1 or n,C,H,W) float32

    def check(self, wanted: Wanted) -> None:
        """Raise StartError as `Start` says."""
        _check_count("start_x_t", self.x_t, wanted.image_shape, wanted.n)
        if not bool(self.x_t.isfinite().all()):
            raise StartError("start_x_t", "NaN or infinity", "all of it must be numbers")
        self._check_t(wanted)

    def states(self, process: Process, t: int, samples: Samples) -> Tensor:  # noqa: ARG002
        """Take them as they are."""
        return _of_each(self.x_t, samples).to(samples.seeds.device)

    def spacing(self, whole: Spacing) -> Spacing:
        """Keep the timesteps from t on. Raises StartError unless t is one of them: the state has
        the noise of that t."""
        if self.t is None:
            return whole
        try:
            return whole.beginning_at(self.t)
        except ValueError as error:
            raise StartError("t", self.t, str(error)) from None


@dataclass(frozen=True, eq=False)
class Mask:
    """Which part of the start's picture is kept, and how the rest is filled in: by RePaint."""

    image: Tensor  # (1 or n,1,H,W) in 0..1: 1 is made anew, 0 kept
    resamplings: int = 1  # r: how often each part of the chain is made
    jump: int = 10  # j: how many steps the chain goes back up for that

    def check(self, start: Start | None, sampler: SamplerName, wanted: Wanted) -> None:
        """Raise StartError where there is no picture to keep, or a sampler that does not fill in
        the rest, and for numbers out of range."""
        if not isinstance(start, FromPicture):
            raise StartError("mask", "given", "it keeps part of start_image, which is not given")
        if sampler not in MASKED:
            raise StartError("mask", "given", f"it applies to ddpm and ddim, not to {sampler}")
        _check_count("mask", self.image, (1, *wanted.image_shape[1:]), wanted.n)
        if not 1 <= self.resamplings <= MAX_RESAMPLINGS:
            reason = f"it must be 1..{MAX_RESAMPLINGS}"
            raise StartError("resamplings", self.resamplings, reason)
        if self.jump < 1:
            raise StartError("jump", self.jump, "it must be 1 or more")

    def check_steps(self, num_steps: int) -> None:
        """Raise StartError where the chain is too short to jump back in it."""
        if self.resamplings > 1 and num_steps == 1:
            reason = "it must be 1: the chain has a single step, over which there is no way back"
            raise StartError("resamplings", self.resamplings, reason)
        if self.resamplings > 1 and self.jump >= num_steps:
            reason = f"it must be less than the {num_steps} steps of the chain"
            raise StartError("jump", self.jump, reason)


class Begun(NamedTuple):
    """How the chains of some samples begin."""

    x_t: Tensor | None = None  # (B,C,H,W); None: at noise
    known: Known | None = None  # the part of the images that is given


def begin(
    start: Start | None, mask: Mask | None, process: Process, t: int, samples: Samples
) -> Begun:
    """Make the first states of some samples, whose first step is at the code's t, and what is known
    of them."""
    if start is None:
        return Begun()
    x_t = start.states(process, t, samples)
    if mask is None or not isinstance(start, FromPicture):
        return Begun(x_t)
    x_0, share = (_of_each(x, samples).to(x_t.device) for x in (start.x_0, mask.image))
    return Begun(x_t, Known(x_0, share))


def _of_each(given: Tensor, samples: Samples) -> Tensor:
    """What is given for some samples, (B,…): one for all of them, or one for each of the
    request's."""
    B = len(samples.seeds)
    return given.expand(B, *given.shape[1:]) if len(given) == 1 else given[samples.which]


def _weights(weights: Sequence[float], samples: Samples) -> Tensor:
    return _of_each(torch.tensor(weights, dtype=torch.float64), samples)


def _check_count(field: str, given: Tensor, shape: tuple[int, ...], n: int) -> None:
    if len(given) not in (1, n):
        reason = f"give one, or one for each of the n = {n} images"
        raise StartError(field, len(given), reason)
    if given.shape[1:] != shape:
        raise StartError(field, tuple(given.shape[1:]), f"for this model it must be {shape}")


def _check_weights(weights: Sequence[float], wanted: Wanted) -> None:
    if len(weights) not in (1, wanted.n):
        reason = f"give one, or one for each of the n = {wanted.n} images"
        raise StartError("weights", list(weights), reason)
    if not all(0 <= weight <= 1 for weight in weights):
        raise StartError("weights", list(weights), "each must be 0..1")
