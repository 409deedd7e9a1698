"""The pictures of docs/gallery.md: grids of each included model that nobody has selected.

    pip install -e '.[openvino]'
    python -m benchmarks.gallery                            # all models, all grids
    python -m benchmarks.gallery cifar10 --grids few 50 --out gallery

A grid has a column for each label and a row for each of the seeds 0 and 1, that with all steps for
seed 0 alone: row s is what `ddpm sample MODEL --n 10 --label 0 1 2 … --seed s` makes with the
sampler that the grid is named for. Pictures are enlarged by whole pixels.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from diffusion import pixels
from diffusion.checkpoint import Checkpoint
from diffusion.config import PrecisionName
from diffusion.folders import MODELS
from diffusion.sampling import Request, Source, generate
from diffusion.spacing import SamplerName, SpacingName

USUAL_GUIDANCE = 0.5
"""That of models whose card recommends none."""
LARGE = 64
"""Images of this side or more are shown as they are, smaller ones enlarged."""
SCALE = 2


@dataclass(frozen=True)
class Grid:
    """A picture of the gallery: its name beside the model's, and how its images are made."""

    name: str
    sampler: SamplerName
    steps: int | None = None
    spacing: SpacingName = "even"
    is_guided: bool = True
    rows: int = 2  # for the seeds 0 and 1


ALL_STEPS = Grid("all", "ddpm", rows=1)
FIFTY = Grid("50", "ddim", 50)
UNGUIDED = Grid("unguided", "ddim", 50, is_guided=False)
NAMES = "few", "50", "unguided", "all"


def grids(checkpoint: Checkpoint) -> Iterator[Grid]:
    """The grids of a model, the quickest first: the few steps that its card recommends, 50, those
    without guidance, and all steps."""
    advice = checkpoint.card.recommended
    if "sampler" in advice:
        yield Grid("few", advice["sampler"], advice["steps"], advice["spacing"])
    yield from (FIFTY, UNGUIDED, ALL_STEPS)


def draw(source: Source, grid: Grid, guidance: float) -> pixels.Array:
    """Make the images of a grid as one picture, uint8 (H,W,C): a row for each seed, a column for
    each label."""
    labels = list(range(len(source.checkpoint.classes)))
    rows = [
        generate(source, request(grid, seed, labels, guidance), batch_size=len(labels))
        for seed in range(grid.rows)
    ]
    images = pixels.to_uint8(np.concatenate([row.numpy() for row in rows]))
    enlarge = 1 if images.shape[1] >= LARGE else SCALE
    return pixels.tile(images, len(labels)).repeat(enlarge, axis=0).repeat(enlarge, axis=1)


def request(grid: Grid, seed: int, labels: list[int], guidance: float) -> Request:
    """What a row of a grid is: an image of each label."""
    return Request(
        seed, len(labels), labels=labels, sampler=grid.sampler, num_steps=grid.steps,
        spacing=grid.spacing, guidance=guidance if grid.is_guided else 0.0,
    )  # fmt: skip


def included() -> list[str]:
    """The names of the included models."""
    return sorted(path.parent.name for path in MODELS.glob("*/model_index.json"))


def main(argv: Sequence[str] | None = None) -> None:
    """Make the pictures that the flags ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="checkpoints (default: all included models)")
    add("--out", type=Path, default=Path("docs/gallery"), help="folder (default: %(default)s)")
    add("--grids", nargs="+", choices=NAMES, default=NAMES, help="which (default: all)")
    add("--precision", choices=get_args(PrecisionName), default="auto",
        help="as of ddpm sample (default: %(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for model in args.models or included():
        source = Source.open(model, "cpu", precision=args.precision)
        name = source.checkpoint.name
        guidance = source.checkpoint.card.recommended.get("guidance", USUAL_GUIDANCE)
        for grid in grids(source.checkpoint):
            if grid.name not in args.grids:
                continue
            started = time.perf_counter()
            picture = pixels.picture(draw(source, grid, guidance))
            path = args.out / f"{name}-{grid.name}.png"
            picture.save(path, optimize=True)
            seconds = time.perf_counter() - started
            size = path.stat().st_size
            print(f"{path}: {size:,} bytes, {seconds:.0f} s, {source.precision}", flush=True)


if __name__ == "__main__":
    main()
