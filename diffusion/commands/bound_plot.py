"""The plot of `ddpm bound`: the terms by t, and what the network makes of each x_t."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diffusion import pixels
from diffusion.atomic import atomic_file
from diffusion.bound import Draw
from diffusion.bound_sum import PictureBound
from diffusion.output import OutputError

ENDINGS = (".png", ".svg")
MAX_ROWS = 8
"""Pictures that are drawn."""
SHOWN = 8
"""States of each picture that are drawn."""


def check(path: Path) -> None:
    """Raise OutputError where the plot could not be drawn."""
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(path, f"the ending must be {' or '.join(ENDINGS)}", "plot")
    if importlib.util.find_spec("matplotlib") is None:
        reason = "matplotlib is not installed, which draws it; install the extra `train`"
        raise OutputError(path, reason, "plot")


def draw(path: Path, x_0: Tensor, found: Sequence[PictureBound], made: Sequence[Draw]) -> None:
    """Draw the bits per dimension by t, and for each picture x_t above x_0_hat. Raises
    OutputError."""
    from matplotlib.figure import Figure

    count = min(len(found), MAX_ROWS)
    figure = Figure(figsize=(9, 3 + 1.6 * count), layout="constrained")
    grid = figure.add_gridspec(1 + count, 1, height_ratios=[2.4, *[1.2] * count])
    _terms(figure.add_subplot(grid[0]), found[:count])
    for b in range(count):
        axes = figure.add_subplot(grid[1 + b])
        _states(axes, b, x_0, made)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path.resolve()) as file:
            kind = path.suffix[1:].lower()
            figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error), "plot") from error


def _terms(axes: Any, found: Sequence[PictureBound]) -> None:
    for b, bound in enumerate(found):
        terms = sorted(bound.terms, key=lambda term: term.t)
        bits = np.maximum([term.bits_per_dim for term in terms], 1e-12)
        axes.loglog([term.t for term in terms], bits, ".-", label=f"picture {b + 1}")
    axes.set(xlabel="t", ylabel="bits/dim of the term at t")
    axes.legend()


def _states(axes: Any, b: int, x_0: Tensor, made: Sequence[Draw]) -> None:
    """Draw x_t above x_0_hat at some of the t of picture b, and the picture itself at the left."""
    by_t = sorted(made, key=lambda draw: int(draw.t[b]))
    places = np.linspace(0, len(by_t) - 1, min(SHOWN, len(by_t))).round().astype(int)
    shown = [by_t[k] for k in dict.fromkeys(places.tolist())]
    columns = [(x_0[b], x_0[b]), *((d.term.x_t[b], d.term.x_0_hat[b]) for d in shown)]
    rows = [x.cpu().numpy() for row in zip(*columns, strict=True) for x in row]
    picture = pixels.tile(pixels.to_uint8(np.stack(rows)), len(columns))
    axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
    W = x_0.shape[-1]
    names = ["x_0", *(f"t = {int(d.t[b]) + 1}" for d in shown)]
    axes.set_xticks([W * (k + 0.5) for k in range(len(columns))], names, fontsize=7)
    axes.set_yticks([])
    axes.set_title(f"picture {b + 1}: x_t above, x_0_hat below", fontsize=8, loc="left")
