"""The bound of a data set (eq. 5), and the model as a lossy code (section 4.3), for a report."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.bound import BoundTerms, bound
from diffusion.evaluation.draws import choose
from diffusion.evaluation.plan import Evaluation
from diffusion.evaluation.rate_distortion import rate_distortion, reconstructions

Array = np.ndarray
SHOWN_IMAGES = 10
"""How many test images are shown as a receiver sees them on the way."""
SHOWN_TIMES = (1.0, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.06, 0.03, 0.01, 0.0)
"""The states at which they are shown, as shares of the chain."""


def measure_bounds(evaluation: Evaluation, bar: "tqdm[Any]") -> dict[str, BoundTerms]:
    """Measure the bound of images of each split, chosen at random, given their labels."""
    return {split: measure_bound(evaluation, split, bar) for split in evaluation.splits}


def measure_bound(evaluation: Evaluation, split: str, bar: "tqdm[Any]") -> BoundTerms:
    """Measure the bound of images of one split."""
    count = evaluation.num_images(split)
    return _measure(evaluation, split, f"bound-{split}", count, evaluation.num_terms, bar)


def measure_likelihood(
    evaluation: Evaluation, bounds: dict[str, BoundTerms], bar: "tqdm[Any]"
) -> tuple[dict[str, Any], Array]:
    """Sum up the bound of each split, and measure what else a report tells of the likelihood.

    Returns a report's part in JSON types, and the picture of `decoding`.
    """
    settings = evaluation.settings
    estimators = None
    if settings.num_full and evaluation.test is not None:
        # All terms of the first of those test images, with the same draws of x_t
        T = evaluation.source.process.num_timesteps
        full = _measure(evaluation, "test", "bound-full", settings.num_full, T, bar)
        estimators = agreement(bounds["test"], full)
    shown = evaluation.shown_split
    decoded, picture = decoding(evaluation, shown)
    return {
        "bound": {name: summary(terms) for name, terms in bounds.items()},
        "estimators": estimators,
        "curves_of": shown,
        "by_timestep": by_timestep(bounds[shown]),
        "progressive": decoded,
    }, picture


def _measure(
    evaluation: Evaluation, split: str, name: str, count: int, num_terms: int, bar: "tqdm[Any]"
) -> BoundTerms:
    """The bound of `count` images, by `num_terms` of each, in parts called `name`."""
    images, size = evaluation.splits[split], evaluation.settings.batch_size
    chosen = choose(len(images), count, evaluation.settings.seed)
    made = []
    for start in range(0, len(chosen), size):
        index = chosen[start : start + size]

        def make(index: Tensor = index, start: int = start) -> dict[str, Array]:
            return _part(evaluation, evaluation.images(images, index), start, num_terms, bar)

        made.append(evaluation.part(f"{name}-{start:06d}", make, bar, len(index) * num_terms))
    columns = {name: torch.from_numpy(np.concatenate([m[name] for m in made])) for name in made[0]}
    return BoundTerms(**columns, num_dims=images.pixels[0].numel())


def _part(
    evaluation: Evaluation,
    given: tuple[Tensor, Tensor | None],
    start: int,
    num_terms: int,
    bar: "tqdm[Any]",
) -> dict[str, Array]:
    """Arrays of the bound of images and labels, those chosen from number `start` on."""
    x_0, label = given
    with evaluation.source.at_work():
        terms = bound(
            evaluation.reverse, x_0, label, seed=evaluation.settings.seed, first_index=start,
            num_terms=num_terms, on_step=lambda: bar.update(len(x_0)),
        )  # fmt: skip
    names = ("prior", "per_step", "x_0_mse", "eps_mse")
    return {name: getattr(terms, name).cpu().numpy() for name in names}


def summary(terms: BoundTerms) -> dict[str, Any]:
    """Return the means over the images, in bits/dim, with the standard error of the total.

    It counts how images differ, and how their draws of x_t and of the terms do: an image's total
    has both in it.
    """
    bits = terms.bits_per_dim()
    total, error = _mean(bits.total)
    return {
        "images": len(bits.total),
        "total": total,
        "standard_error": error,
        "prior": bits.prior.mean().item(),
        "denoising": bits.denoising.mean().item(),
        "decoder": bits.decoder.mean().item(),
    }


def agreement(some: BoundTerms, full: BoundTerms) -> dict[str, Any]:
    """Compare the two estimators of the bound, by some terms of each image and by all of them, in
    bits/dim: each with its standard error, and their difference on the same images.

    On the same images and draws of x_t they differ only by which terms were drawn, so that the
    standard error of the difference is of that alone.
    """
    all_terms = full.bits_per_dim().total
    few = some.bits_per_dim().total[: len(all_terms)]
    found: dict[str, Any] = {"images": len(all_terms)}
    for name, values in (("full", all_terms), ("terms", few), ("difference", few - all_terms)):
        found[name], found[f"{name}_error"] = _mean(values)
    return found


def _mean(values: Tensor) -> tuple[float, float | None]:
    """The mean of values (N,), and its standard error; None for a single one."""
    n = len(values)
    return values.mean().item(), values.std().item() / n**0.5 if n > 1 else None


def by_timestep(terms: BoundTerms) -> dict[str, list[float]]:
    """Return the means over the images at each t, in order of the paper's t = 1..T.

    The terms and the rate are in bits/dim, `rmse` on the 0..255 scale.
    """
    code = rate_distortion(terms)
    return {
        "bits_per_dim": terms.bits_per_dim().per_step.mean(dim=0).tolist(),
        "rate": code.rate.tolist(),
        "rmse": code.rmse.tolist(),
        "eps_mse": terms.eps_mse.mean(dim=0).tolist(),
    }


def decoding(evaluation: Evaluation, split: str) -> tuple[list[dict[str, float]], Array]:
    """Decode images of a split from x_t at the SHOWN_TIMES, as a receiver of the code sees them.

    Returns the error of each t, and a picture: a row for each image, from noisy to clean, and last
    the image itself.
    """
    source, settings, images = evaluation.source, evaluation.settings, evaluation.splits[split]
    chosen = choose(len(images), min(settings.num_images, SHOWN_IMAGES), settings.seed)
    last = source.process.num_timesteps - 1
    times = list(dict.fromkeys(round(share * last) for share in SHOWN_TIMES))
    x_0, label = evaluation.images(images, chosen)
    made = reconstructions(evaluation.reverse, x_0, times, label, seed=settings.seed)
    error = 127.5 * (made - x_0).square().mean(dim=(1, 2, 3, 4)).sqrt()
    numbers = [{"t": t + 1, "rmse": rmse} for t, rmse in zip(times, error.tolist(), strict=True)]
    rows = torch.cat([made, x_0[None].double()]).swapaxes(0, 1).flatten(0, 1).cpu()
    return numbers, pixels.tile(pixels.to_uint8(rows.numpy()), len(times) + 1)
