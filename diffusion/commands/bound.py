"""`ddpm bound`: how many bits a model needs for given pictures, term by term."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from diffusion.bound import Reverse
from diffusion.bound_sum import PictureBound, Terms
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.commands import bound_plot
from diffusion.commands.pictures import read_pictures
from diffusion.output import OutputError, check_file
from diffusion.picture_bound import measure, summed
from diffusion.sampling import MAX_INTEGER, RequestError, Source, network_labels


def run(args: argparse.Namespace) -> None:
    """Measure the pictures, and print a table or JSON.

    Raises OutputError, CheckpointError, RequestError, LabelError or DeviceError, before anything is
    computed.
    """
    if args.plot is not None:
        bound_plot.check(args.plot)
        check_file(args.plot, "plot")
        if args.plot.exists() and not args.force:
            raise OutputError(args.plot, "the file exists; --force replaces it", "plot")
    checkpoint = open_checkpoint(args.checkpoint)
    terms = check(args, checkpoint)
    shape = checkpoint.unet.image_shape
    x_0 = read_pictures(args.pictures, "pictures", shape, resize=args.resize)
    labels = network_labels(checkpoint, args.label, len(x_0))
    source = Source.of(checkpoint, args.device, args.runtime, args.precision, args.cache)
    process = checkpoint.process
    variance = args.variance or process.variance
    reverse = Reverse(source.model, source.process, variance, process.clip)
    x_0 = x_0.to(source.device)
    label = None if labels is None else labels.to(source.device)
    progress = tqdm(total=len(x_0) * terms.count, desc="measuring", unit="row")
    with progress as bar, source.at_work():
        made = []
        for draw in measure(reverse, x_0, label, terms, seed=args.seed):
            made.append(draw)
            bar.update(len(x_0))
    found = summed(reverse, x_0, terms, made)
    if args.json:
        print(json.dumps(as_json(args, checkpoint, found), indent=2))
    else:
        print(as_text(args, found, process.num_timesteps))
    if args.plot is not None:
        bound_plot.draw(args.plot, x_0, found, made)


def check(args: argparse.Namespace, checkpoint: Checkpoint) -> Terms:
    """Check the numbers that the flags give. Raises RequestError, which names the field."""
    if checkpoint.unet.min_timestep > 0:
        name = checkpoint.name
        raise RequestError(f"checkpoint: {name} has no bound: its network cannot be told t = 1")
    if not 0 <= args.seed <= MAX_INTEGER:
        raise RequestError(f"seed: {args.seed} is not allowed: it must be 0..{MAX_INTEGER}")
    try:
        return Terms.of(args.terms, args.timesteps, checkpoint.process.num_timesteps)
    except ValueError as error:
        raise RequestError(str(error)) from None


def as_json(
    args: argparse.Namespace, checkpoint: Checkpoint, found: Sequence[PictureBound]
) -> dict[str, Any]:
    """What is known of the pictures, in JSON types; bits are bits/dim."""
    labels = spread(args.label, len(found))
    images = [
        {"picture": str(path), "label": label, **dataclasses.asdict(bound)}
        for path, label, bound in zip(args.pictures, labels, found, strict=True)
    ]
    return {"model": checkpoint.name, "seed": args.seed, "images": images}


def spread(labels: list[int] | None, count: int) -> list[int | None]:
    """The label of each picture."""
    if labels is None:
        return [None] * count
    return [*labels] if len(labels) == count else [*labels] * count


def as_text(args: argparse.Namespace, found: Sequence[PictureBound], num_timesteps: int) -> str:
    """A table: a line for each picture, with the decoder's term and the rest in parts of the
    chain."""
    parts = _parts(found, num_timesteps)
    head = ["picture", "bits/dim", "error", "L_0", *(name for name, _ in parts), "L_T"]
    lines = [head]
    for path, bound in zip(args.pictures, found, strict=True):
        sums = [_sum(bound, within) for _, within in parts]
        numbers = [bound.bits_per_dim, bound.standard_error, bound.L_0, *sums, bound.L_T]
        lines.append([path.name, *("-" if x is None else f"{x:.4f}" for x in numbers)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def _sum(bound: PictureBound, within: range) -> float:
    """What the terms whose t is within a part of the chain stand for, in bits/dim."""
    return sum(term.weight * term.bits_per_dim for term in bound.terms if term.t in within)


def _parts(found: Sequence[PictureBound], num_timesteps: int) -> list[tuple[str, range]]:
    """Parts of the chain above t = 1, whose terms are summed up: powers of two, by t."""
    edges = [2]
    while edges[-1] <= num_timesteps:
        edges.append(edges[-1] * 4)
    parts = [range(a, min(b, num_timesteps + 1)) for a, b in zip(edges, edges[1:], strict=False)]
    used = {term.t for bound in found for term in bound.terms}
    return [(f"t {p.start}-{p.stop - 1}", p) for p in parts if used & set(p)]
