"""What bfloat16 loses: the same images in both precisions, and float32 with another seed beside."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.bound import BoundTerms
from diffusion.evaluation.classifier import measure
from diffusion.evaluation.draws import Stream
from diffusion.evaluation.likelihood import measure_bound
from diffusion.evaluation.plan import Evaluation
from diffusion.evaluation.quality import Reference, Samples
from diffusion.evaluation.resampling import pair_spread
from diffusion.evaluation.samples import draw, extract
from diffusion.training.randomness import generator_at

MAX_BITS = 0.002
"""Bits/dim by which the bound may differ in a precision that is said to lose nothing."""
SURE = 1.96
"""Standard errors to either side, for 95%."""


@dataclass(frozen=True)
class Others:
    """What is made beside an evaluation in float32; all samples are of its first sampler."""

    half: Evaluation  # the evaluation in bfloat16
    half_samples: Samples
    half_bound: BoundTerms  # of the images that curves are of
    again: Evaluation  # in float32, with the next seed
    again_samples: Samples


def make_others(evaluation: Evaluation, bar: "tqdm[Any]") -> Others | None:
    """Make the samples, and measure the bound, that `compare` needs; None where it is not asked
    for."""
    if evaluation.half is None:
        return None
    settings, parts = evaluation.settings, evaluation.parts
    half = dataclasses.replace(evaluation, source=evaluation.half, parts=parts.under("bfloat16"))
    next_seed = dataclasses.replace(settings, seed=settings.seed + 1)
    again = dataclasses.replace(evaluation, settings=next_seed, parts=parts.under("next-seed"))
    first = settings.samplers[0]
    bound = measure_bound(half, half.shown_split, bar)
    return Others(half, draw(half, first, bar), bound, again, draw(again, first, bar))


def compare(
    evaluation: Evaluation,
    samples: Samples,
    bounds: dict[str, BoundTerms],
    others: Others,
    real: Reference,
) -> dict[str, Any]:
    """Compare bfloat16 with float32: a report's part in JSON types.

    `samples` and `bounds` are those in float32. Differences are bfloat16 less float32.
    """
    sampler, seed = evaluation.settings.samplers[0], evaluation.settings.seed
    sets = {
        "float32": (evaluation, samples),
        "bfloat16": (others.half, others.half_samples),
        "next_seed": (others.again, others.again_samples),
    }
    features = {
        name: torch.cat(list(extract(of, sampler.file_name, made.pixels)))
        for name, (of, made) in sets.items()
    }
    distances = {name: real.distance(found) for name, found in features.items()}
    generator = generator_at(seed, Stream.RESAMPLES, 1)
    spread = pair_spread(
        real.distance, features["float32"], features["bfloat16"], samples.labels, generator
    )
    found: dict[str, Any] = {
        "sampler": str(sampler),
        "images": len(samples.pixels),
        **{f"frechet_{name}": distance for name, distance in distances.items()},
        "frechet_difference": distances["bfloat16"] - distances["float32"],
        "frechet_error": spread.error,
        "frechet_by_chance": SURE * spread.by_chance,
        **_recognised(evaluation, {name: made for name, (_, made) in sets.items()}),
        "rmse": _rmse(samples.pixels, others.half_samples.pixels),
        **_bits(bounds[evaluation.shown_split], others.half_bound),
    }
    return {**found, "lossless": is_lossless(found)}


def is_lossless(found: dict[str, Any]) -> bool:
    """Is it 95% sure that bfloat16 adds no more to the distance than another seed may, and no more
    than MAX_BITS to the bound?

    Another seed may add what two sets of float32 differ by in 95 of 100 cases.
    """
    if found["bits_per_dim_error"] is None:
        return False
    worst = found["frechet_difference"] + SURE * found["frechet_error"]
    bits = abs(found["bits_per_dim_difference"]) + SURE * found["bits_per_dim_error"]
    return bool(worst <= found["frechet_by_chance"] and bits <= MAX_BITS)


def _recognised(evaluation: Evaluation, sets: dict[str, Samples]) -> dict[str, float]:
    """The share of each set that is recognised; nothing without labels or a classifier."""
    classifier = evaluation.classifier
    if classifier is None or evaluation.labels is None:
        return {}
    results = {
        name: measure(classifier, made.pixels, evaluation.labels) for name, made in sets.items()
    }
    return {f"recognised_{name}": each.recognised / each.total for name, each in results.items()}


def _rmse(one: Tensor, other: Tensor) -> float:
    """The root of the mean square difference of images uint8 (N,C,H,W), on the 0..255 scale."""
    return (one.double() - other.double()).square().mean().sqrt().item()


def _bits(exact: BoundTerms, half: BoundTerms) -> dict[str, Any]:
    """How far apart the bounds of the same images are, given the same draws of x_t."""
    difference = half.bits_per_dim().total - exact.bits_per_dim().total
    n = len(difference)
    return {
        "bound_images": n,
        "bits_per_dim_difference": difference.mean().item(),
        "bits_per_dim_error": difference.std().item() / n**0.5 if n > 1 else None,
    }
