"""What an evaluation is to measure: of which model, against which data, and how much."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.bound import Reverse
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError, Parts
from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.features import Features
from diffusion.sampling import Source
from diffusion.spacing import SamplerName, default_steps

Array = np.ndarray


class Sampler(NamedTuple):
    """A sampler, its number of steps and its guidance, written `ddim:50` or `ddim:50@1.5`."""

    name: SamplerName
    num_steps: int
    guidance: float = 0.0

    @classmethod
    def parse(cls, text: str, num_timesteps: int) -> "Sampler":
        """Read `ddpm`, `ddim:50` or `ddim:50@1.5`; without a number the steps are the default.

        Raises EvaluationError for anything else, or more than `num_timesteps` steps.
        """
        rest, _, guidance = text.partition("@")
        name, _, steps = rest.partition(":")
        if name not in get_args(SamplerName):
            raise EvaluationError(f"sampler: {text!r}: {name!r} is not ddpm, ddim or dpmpp")
        if steps and not (steps.isdecimal() and 1 <= int(steps) <= num_timesteps):
            raise EvaluationError(f"sampler: {text!r}: steps must be 1..{num_timesteps}")
        if guidance and not re.fullmatch(r"\d+(\.\d+)?", guidance):
            raise EvaluationError(f"sampler: {text!r}: guidance must be a number, 0 or more")
        kept = int(steps) if steps else default_steps(name, num_timesteps)  # type: ignore[arg-type]
        return cls(name, kept, float(guidance or 0))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}:{self.num_steps}" + (f"@{self.guidance:g}" if self.guidance else "")

    @property
    def file_name(self) -> str:
        """The name of the files of this sampler's samples, without an ending."""
        return str(self).replace(":", "-")


@dataclass(frozen=True)
class Settings:
    """How much is measured. Raises EvaluationError for less than can be measured."""

    num_images: int  # of each split, for the bound
    num_samples: int  # made with each sampler
    samplers: tuple[Sampler, ...]
    seed: int = 0
    batch_size: int = 64
    num_terms: int | None = None  # of the bound, computed for each image; None: all

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("images", self.num_images, 1),
            ("samples", self.num_samples, 2),  # a covariance needs two
            ("batch-size", self.batch_size, 1),
            ("terms", self.num_terms or 2, 2),  # the decoder's, and one more of the chain
        ):
            if value < least:
                raise EvaluationError(f"{flag}: {value} is not allowed; it must be {least} or more")

    def key(self) -> dict[str, Any]:
        """Return all settings in JSON types: what tells one evaluation from another."""
        return {**asdict(self), "samplers": [str(sampler) for sampler in self.samplers]}

    def flags(self) -> str:
        """Return the flags that give `ddpm evaluate` these settings."""
        terms = "" if self.num_terms is None else f"--terms {self.num_terms} "
        return (
            f"--images {self.num_images} {terms}--samples {self.num_samples} --seed {self.seed} "
            f"--batch-size {self.batch_size} --sampler {' '.join(map(str, self.samplers))}"
        )


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint, the data that it is compared with, and the parts that are finished."""

    source: Source
    train: Images
    test: Images
    classifier: Classifier
    features: Features
    settings: Settings
    parts: Parts

    @property
    def reverse(self) -> Reverse:
        """The reverse process p, as the bound takes it."""
        process = self.source.checkpoint.process
        return Reverse(self.source.model, self.source.process, process.variance, process.clip)

    def images(self, of: Images, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x_0 (B,C,H,W) and labels (B,) of the images at `index`, on the device.

        The labels are None for unconditional models, and for data without them.
        """
        device = self.source.device
        label = None
        if self.source.checkpoint.classes and of.labels is not None:
            label = of.labels[index].to(device)
        return pixels.to_model(of.pixels[index]).to(device), label

    @property
    def rows(self) -> int:
        """The rows of all calls of the network, an image in a step each: what the progress bar
        counts."""
        settings = self.settings
        splits = sum(min(settings.num_images, len(images)) for images in (self.train, self.test))
        steps = sum(sampler.num_steps for sampler in settings.samplers)
        return splits * self.num_terms + settings.num_samples * steps

    @property
    def num_terms(self) -> int:
        """Terms of the bound computed for each image: as set, but at most one for each step."""
        T = self.source.process.num_timesteps
        return min(self.settings.num_terms or T, T)

    def part(
        self,
        name: str,
        make: Callable[[], Mapping[str, Array]],
        bar: "tqdm[Any]",
        rows: int,
    ) -> dict[str, Array]:
        """Get the part of that name; where it is finished already, `bar` moves on by its `rows`,
        which then do not count as speed."""
        before = bar.n
        part = self.parts.get(name, make)
        if bar.n == before:
            bar.initial += rows
            bar.update(rows)
        return part
