"""An evaluation's samples, and the features of images; both made in parts, which are stored."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.evaluation.features import Features
from diffusion.evaluation.plan import Evaluation, Sampler
from diffusion.evaluation.quality import Samples
from diffusion.sampling import Request, Source, batches

Array = np.ndarray
FEATURES_PART = 1000
"""How many images' features are computed and stored together."""


def draw(evaluation: Evaluation, sampler: Sampler, bar: "tqdm[Any]") -> Samples:
    """Make `num_samples` samples with one sampler."""
    source, settings, labels = evaluation.source, evaluation.settings, evaluation.labels
    made = []
    for start in range(0, settings.num_samples, settings.batch_size):
        B = min(settings.batch_size, settings.num_samples - start)
        asked = None if labels is None else labels[start : start + B].tolist()
        request = Request(
            settings.seed, B, start, asked, sampler.name, sampler.num_steps,
            guidance=sampler.guidance, spacing=sampler.spacing,
        )  # fmt: skip
        make = partial(_samples_part, source, request, bar)
        name = f"samples-{sampler.file_name}-{start:06d}"
        made.append(evaluation.part(name, make, bar, B * sampler.num_steps))
    images = torch.from_numpy(np.concatenate([part["images"] for part in made]))
    return Samples(
        images, labels, float(sum(part["seconds"] for part in made)), _processor_seconds(made)
    )


def _processor_seconds(parts: Sequence[Mapping[str, Array]]) -> float | None:
    """The sum over all parts; None where one was made by a version that did not measure it."""
    if not all("processor_seconds" in part for part in parts):
        return None
    return float(sum(part["processor_seconds"] for part in parts))


def extract(
    evaluation: Evaluation, name: str, images: Tensor, index: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the features (n,D) of images uint8 (N,C,H,W), or of those at `index`, in order, a part
    at a time; the parts are stored."""
    index = torch.arange(len(images)) if index is None else index
    bar = tqdm(total=len(index), desc=f"features of {name}", unit="image", leave=False)
    with bar:
        for number, which in enumerate(index.split(FEATURES_PART)):
            make = partial(_features_part, evaluation.features, images, which)
            part = evaluation.parts.get(f"features-{name}-{number * FEATURES_PART:06d}", make)
            bar.update(len(which))
            yield torch.from_numpy(part["features"])


def _features_part(features: Features, images: Tensor, index: Tensor) -> dict[str, Array]:
    return {"features": features(images[index]).numpy()}


def _samples_part(source: Source, request: Request, bar: "tqdm[Any]") -> dict[str, Array]:
    """One batch of samples, and what it took: seconds elapsed, and of the processor."""
    # Elapsed time includes what other processes did meanwhile, and any pause of this one; the
    # processor's, over all threads of this process, does not, but leaves out a GPU's work.
    started, used = time.monotonic(), time.process_time()
    (x_0,) = batches(source, request, request.n, bar.update)
    images = np.moveaxis(pixels.to_uint8(x_0.numpy()), -1, -3)
    return {
        "images": images,
        "seconds": np.array(time.monotonic() - started),
        "processor_seconds": np.array(time.process_time() - used),
    }
