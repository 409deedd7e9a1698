"""`ddpm encode`: pictures to the x_t from which DDIM makes them again."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.atomic import atomic_file
from diffusion.checkpoint import open_checkpoint
from diffusion.commands.pictures import read_pictures
from diffusion.editing import StartError
from diffusion.guidance import Conditioning
from diffusion.inversion import inversion
from diffusion.output import OutputError, check_file
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.sampler_table import SamplerTable
from diffusion.sampling import RequestError, Source, network_labels
from diffusion.spacing import Spacing, check_chain


def run(args: argparse.Namespace) -> None:
    """Encode the pictures and write x_t.

    Raises OutputError, CheckpointError, RequestError, StartError, LabelError or DeviceError; before
    anything is computed, unless the disk is full.
    """
    check_out(args.out, force=args.force)
    checkpoint = open_checkpoint(args.checkpoint)
    spacing = kept(args.steps, args.t, checkpoint.process.num_timesteps)
    check_chain(spacing, checkpoint.unet.min_timestep)
    table = inversion(Process.from_config(checkpoint.process), spacing)
    if args.batch_size < 1:
        raise RequestError(f"batch_size: {args.batch_size} is not allowed: it must be 1 or more")
    shape = checkpoint.unet.image_shape
    x_0 = read_pictures(args.pictures, "pictures", shape, resize=args.resize)
    labels = network_labels(checkpoint, args.label, len(x_0))
    source = Source.of(checkpoint, args.device, args.runtime, args.precision, args.cache)
    with tqdm(total=len(x_0) * len(table), desc="encoding", unit="row") as bar:
        x_t = encode(source, table, x_0, labels, args.batch_size, bar.update)
    t = table.paper_t[-1]
    write(args.out, x_t, t)
    print(f"x_t of {len(x_0)} pictures at t = {t} written to {args.out}")
    print(
        f"back: ddpm sample {shlex.quote(args.checkpoint)} --sampler ddim --steps {args.steps} "
        f"--start-x-t {shlex.quote(str(args.out))}, with the same labels"
    )


def kept(steps: int, t: int | None, num_timesteps: int) -> Spacing:
    """Return the timesteps up to t that DDIM keeps with so many steps. Raises ValueError for
    numbers out of range."""
    spacing = Spacing.even(num_timesteps, steps)
    if t is None:
        return spacing
    if not 1 <= t <= num_timesteps:
        raise StartError("t", t, f"it must be 1..{num_timesteps}")
    try:
        return spacing.up_to(t)
    except ValueError as error:
        raise StartError("t", t, str(error)) from None


@torch.no_grad()
def encode(
    source: Source,
    table: SamplerTable,
    x_0: Tensor,
    labels: Tensor | None,
    batch_size: int,
    on_rows: Callable[[int], object],
) -> Tensor:
    """Take images x_0 (N,C,H,W) along the table of an inversion: x_t (N,C,H,W) on the CPU.

    After each step `on_rows` is told how many rows of the network it took.
    """
    C, H, W = x_0.shape[1:]
    made = []
    for first in range(0, len(x_0), batch_size):
        which = slice(first, first + batch_size)
        start = x_0[which].to(source.device)
        label = None if labels is None else labels[which].to(source.device)
        no_noise = torch.zeros(len(start), dtype=torch.int64, device=source.device)
        condition, clip = Conditioning(label), source.checkpoint.process.clip
        states = sample(source.model, table, no_noise, no_noise, (C, H, W), condition, clip, start)
        with source.at_work():
            for state in states:
                on_rows(len(start) * (state.t < table.paper_t[-1]))
        made.append(state.x_t.cpu())
    return torch.cat(made)


def check_out(path: Path, *, force: bool) -> None:
    """Raise OutputError unless an .npz can be written to `path`."""
    if path.suffix.lower() != ".npz":
        raise OutputError(path, "the ending must be .npz")
    check_file(path, "out")
    if path.exists() and not force:
        raise OutputError(path, "the file exists; --force replaces it")


def write(path: Path, x_t: Tensor, t: int) -> None:
    """Write the states and the paper's t at which they are. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path.resolve()) as file:
            np.savez_compressed(file, x_t=x_t.numpy(), t=np.int64(t))
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
