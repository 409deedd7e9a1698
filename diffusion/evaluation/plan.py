"""What an evaluation is to measure: of which model, against which data, and how much."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.bound import Reverse
from diffusion.config import LabelMix
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError, Parts
from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.draws import RealImages
from diffusion.evaluation.features import Features
from diffusion.evaluation.judge import Judge
from diffusion.labels import MAX_GUIDANCE
from diffusion.sampling import MAX_INTEGER, Source
from diffusion.spacing import SamplerName, SpacingName, default_steps

Array = np.ndarray
WRITTEN = re.compile(r"([^:/@]*)(?::([^:/@]+))?(?:/([^:/@]+))?(?:@([^:/@]+))?")
"""A sampler as text: its name, steps, spacing and guidance."""
NUMBER = re.compile(r"[0-9]{1,15}")
FRACTION = re.compile(r"[0-9]+(\.[0-9]+)?")
MOST_SAMPLES = 10_000_000
"""Samples above which their features would not fit in memory."""
LEAST_SAMPLES = 10
"""Samples below which nothing can be said of their distance: each of its parts needs two."""


class Sampler(NamedTuple):
    """A sampler, its number of steps, their spacing and its guidance, written `ddim:50` or
    `ddim:50/karras@1.5`."""

    name: SamplerName
    num_steps: int
    guidance: float = 0.0
    spacing: SpacingName = "even"

    @classmethod
    def parse(cls, text: str, num_timesteps: int) -> "Sampler":
        """Read `ddpm`, `ddim:50` or `ddim:50/karras@1.5`; without a number the steps are the
        default.

        Raises EvaluationError for anything else, more than `num_timesteps` steps, or a guidance
        that is not 0..MAX_GUIDANCE.
        """
        found = WRITTEN.fullmatch(text)
        if not found:
            reason = "it must be NAME[:STEPS][/SPACING][@GUIDANCE]"
            raise EvaluationError(f"sampler: {text!r} is not allowed; {reason}")
        name, steps, spacing, guidance = found.groups()
        samplers, spacings = get_args(SamplerName), get_args(SpacingName)
        for is_allowed, reason in (
            (name in samplers, f"{name!r} is none of {', '.join(samplers)}"),
            (_is_count(steps, num_timesteps), f"steps must be 1..{num_timesteps}"),
            (_is_guidance(guidance), f"guidance must be 0..{MAX_GUIDANCE}"),
            (spacing in (None, *spacings), f"spacing must be one of {', '.join(spacings)}"),
        ):
            if not is_allowed:
                raise EvaluationError(f"sampler: {text!r}: {reason}")
        kept = int(steps) if steps else default_steps(name, num_timesteps)  # type: ignore[arg-type]
        return cls(name, kept, float(guidance or 0), spacing or "even")  # type: ignore[arg-type]

    def __str__(self) -> str:
        spacing = "" if self.spacing == "even" else f"/{self.spacing}"
        # All digits, so that two strengths never have one name
        strength = np.format_float_positional(self.guidance, trim="-")
        guidance = f"@{strength}" if self.guidance else ""
        return f"{self.name}:{self.num_steps}{spacing}{guidance}"

    @property
    def file_name(self) -> str:
        """The name of the files of this sampler's samples, without an ending."""
        return str(self).replace(":", "-").replace("/", "-")


def _is_count(text: str | None, most: int) -> bool:
    """Whether a text is a number 1..most, or left out."""
    return text is None or bool(NUMBER.fullmatch(text) and 1 <= int(text) <= most)


def _is_guidance(text: str | None) -> bool:
    """Whether a text is a strength of guidance, or left out."""
    return text is None or bool(FRACTION.fullmatch(text) and float(text) <= MAX_GUIDANCE)


@dataclass(frozen=True)
class Settings:
    """How much is measured. Raises EvaluationError for what cannot be measured."""

    num_images: int  # of each split, for the bound
    num_samples: int  # made with each sampler
    samplers: tuple[Sampler, ...]
    seed: int = 0
    batch_size: int = 64
    num_terms: int | None = None  # of the bound, computed for each image; None: all
    num_train_images: int | None = None  # of the training split, for the bound; None: num_images
    num_full: int = 0  # test images that are measured with all terms too
    labels: LabelMix = "balanced"

    def __post_init__(self) -> None:
        for flag, value, least, most in (
            ("images", self.num_images, 1, MAX_INTEGER),
            ("train-images", self.train_images, 1, MAX_INTEGER),
            ("samples", self.num_samples, LEAST_SAMPLES, MOST_SAMPLES),
            ("batch-size", self.batch_size, 1, MAX_INTEGER),
            # The decoder's term, and one more of the chain
            ("terms", 2 if self.num_terms is None else self.num_terms, 2, MAX_INTEGER),
            ("full", self.num_full, 0, MAX_INTEGER),
            ("seed", self.seed, 0, MAX_INTEGER),
        ):
            if value < least:
                raise EvaluationError(f"{flag}: {value} is not allowed; it must be {least} or more")
            if value > most:
                raise EvaluationError(f"{flag}: {value} is not allowed; it must be {most} or less")
        if self.num_full and self.num_terms is None:
            raise EvaluationError("full: all terms are measured already; give --terms, too")
        if self.num_full > self.num_images:
            reason = f"it must be at most the images, {self.num_images}"
            raise EvaluationError(f"full: {self.num_full} is not allowed; {reason}")
        for sampler in self.samplers:
            if self.samplers.count(sampler) > 1:
                raise EvaluationError(f"sampler: {str(sampler)!r} is given twice")

    @property
    def train_images(self) -> int:
        """Images of the training split that the bound is measured on."""
        return self.num_images if self.num_train_images is None else self.num_train_images

    def key(self) -> dict[str, Any]:
        """Return the settings in JSON types: what tells one evaluation from another."""
        return {**asdict(self), "samplers": [str(sampler) for sampler in self.samplers]}

    def flags(self) -> str:
        """Return the flags that give `ddpm evaluate` these settings."""
        optional = (
            ("terms", self.num_terms, None),
            ("train-images", self.num_train_images, None),
            ("full", self.num_full, 0),
        )
        given = "".join(f"--{name} {value} " for name, value, usual in optional if value != usual)
        labels = "" if self.labels == "balanced" else f"--labels {self.labels} "
        return (
            f"--images {self.num_images} {given}--samples {self.num_samples} {labels}"
            f"--seed {self.seed} --batch-size {self.batch_size} "
            f"--sampler {' '.join(map(str, self.samplers))}"
        )


OLDER_KEYS = {"num_train_images": None, "num_full": 0, "labels": "balanced"}
"""What settings were in evaluations of versions that had no such settings."""


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint, the data that it is compared with, and the parts that are finished."""

    source: Source
    train: Images
    test: Images | None  # None: the data have no test split
    labels: (
        Tensor | None
    )  # (N,), that each sampler's samples are asked for; None: the model has none
    real: RealImages
    judge: Judge | None  # None: nothing recognises labels
    features: Features
    settings: Settings
    parts: Parts
    half: Source | None = None  # the same in bfloat16, where that is to be compared

    @property
    def reverse(self) -> Reverse:
        """The reverse process p, as the bound takes it."""
        process = self.source.checkpoint.process
        return Reverse(self.source.model, self.source.process, process.variance, process.clip)

    @property
    def classifier(self) -> Classifier | None:
        """The network that recognises labels; None: nothing does."""
        return None if self.judge is None else self.judge.classifier

    @property
    def splits(self) -> dict[str, Images]:
        """The splits that the data have, by name."""
        return {"train": self.train, **({} if self.test is None else {"test": self.test})}

    def images(self, of: Images, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x_0 (B,C,H,W) and labels (B,) of the images at `index`, on the device.

        The labels are None for unconditional models, and "no label" for data without them.
        """
        device, checkpoint = self.source.device, self.source.checkpoint
        x_0 = pixels.to_model(of.pixels[index]).to(device)
        if not checkpoint.classes:
            return x_0, None
        if of.labels is None:
            null_label = checkpoint.card.null_label or 0
            return x_0, torch.full((len(index),), null_label, device=device)
        return x_0, of.labels[index].to(device)

    @property
    def shown_split(self) -> str:
        """The split that curves are of: test, where there is one."""
        return list(self.splits)[-1]

    def num_images(self, split: str) -> int:
        """Images of a split that the bound is measured on."""
        wanted = self.settings.train_images if split == "train" else self.settings.num_images
        return min(wanted, len(self.splits[split]))

    @property
    def rows(self) -> int:
        """The rows of all calls of the network, an image in a step each: what the progress bar
        counts."""
        settings = self.settings
        terms = [
            (self.train, settings.train_images, self.num_terms),
            (self.test, settings.num_images, self.num_terms),
            (self.test, settings.num_full, self.source.process.num_timesteps),
        ]
        bound = sum(n * min(count, len(of)) for of, count, n in terms if of is not None)
        steps = [sampler.num_steps for sampler in settings.samplers]
        if self.half is not None:
            steps += 2 * steps[:1]  # in bfloat16, and of another seed
            bound += self.num_images(self.shown_split) * self.num_terms
        return bound + settings.num_samples * sum(steps)

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
