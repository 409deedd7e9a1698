"""The bound of a data set (eq. 5), and the model as a lossy code (section 4.3), for a report."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.bound import BoundTerms, bound
from diffusion.data.images import Images
from diffusion.evaluation.plan import Evaluation
from diffusion.evaluation.quality import choose
from diffusion.evaluation.rate_distortion import rate_distortion, reconstructions

Array = np.ndarray
SHOWN_IMAGES = 10
"""How many test images are shown as a receiver sees them on the way."""
SHOWN_TIMES = (1.0, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.06, 0.03, 0.01, 0.0)
"""The states at which they are shown, as shares of the chain."""


def measure_bound(
    evaluation: Evaluation, split: str, images: Images, bar: "tqdm[Any]"
) -> BoundTerms:
    """Compute the bound of `num_images` of a split, chosen at random, given their labels."""
    settings, terms = evaluation.settings, evaluation.num_terms
    chosen = choose(len(images), settings.num_images, settings.seed)
    made = []
    for start in range(0, len(chosen), settings.batch_size):
        index = chosen[start : start + settings.batch_size]
        make = partial(_bound_part, evaluation, images, index, start, bar)
        name = f"bound-{split}-{start:06d}"
        made.append(evaluation.part(name, make, bar, len(index) * terms))
    columns = {name: torch.from_numpy(np.concatenate([m[name] for m in made])) for name in made[0]}
    return BoundTerms(**columns, num_dims=images.pixels[0].numel())


def _bound_part(
    evaluation: Evaluation, images: Images, index: Tensor, start: int, bar: "tqdm[Any]"
) -> dict[str, Array]:
    """Arrays of the bound of the images `index`: those chosen from number `start` on."""
    x_0, label = evaluation.images(images, index)
    terms = bound(
        evaluation.reverse, x_0, label, seed=evaluation.settings.seed, first_index=start,
        num_terms=evaluation.num_terms, on_step=lambda: bar.update(len(index)),
    )  # fmt: skip
    names = ("prior", "per_step", "x_0_mse", "eps_mse")
    return {name: getattr(terms, name).cpu().numpy() for name in names}


def summary(terms: BoundTerms) -> dict[str, Any]:
    """Return the means over the images, in bits/dim, with the standard error of the total."""
    bits = terms.bits_per_dim()
    n = len(bits.total)
    return {
        "images": n,
        "total": bits.total.mean().item(),
        "standard_error": bits.total.std().item() / n**0.5 if n > 1 else None,
        "prior": bits.prior.mean().item(),
        "denoising": bits.denoising.mean().item(),
        "decoder": bits.decoder.mean().item(),
    }


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


def decoding(evaluation: Evaluation) -> tuple[list[dict[str, float]], Array]:
    """Decode test images from x_t at the SHOWN_TIMES, as a receiver of the code sees them.

    Returns the error of each t, and a picture: a row for each image, from noisy to clean, and last
    the image itself.
    """
    source, settings, test = evaluation.source, evaluation.settings, evaluation.test
    chosen = choose(len(test), min(settings.num_images, SHOWN_IMAGES), settings.seed)
    last = source.process.num_timesteps - 1
    times = list(dict.fromkeys(round(share * last) for share in SHOWN_TIMES))
    x_0, label = evaluation.images(test, chosen)
    made = reconstructions(evaluation.reverse, x_0, times, label, seed=settings.seed)
    error = 127.5 * (made - x_0).square().mean(dim=(1, 2, 3, 4)).sqrt()
    numbers = [{"t": t + 1, "rmse": rmse} for t, rmse in zip(times, error.tolist(), strict=True)]
    rows = torch.cat([made, x_0[None].double()]).swapaxes(0, 1).flatten(0, 1).cpu()
    return numbers, pixels.tile(pixels.to_uint8(rows.numpy()), len(times) + 1)
