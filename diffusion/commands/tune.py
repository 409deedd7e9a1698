"""`ddpm tune`: the timesteps that chains of few steps should keep, on a checkpoint's card."""

import argparse
import dataclasses
from typing import Any

from tqdm import tqdm

from diffusion import tuning
from diffusion.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from diffusion.commands.export import check_out
from diffusion.labels import MAX_GUIDANCE, Labels
from diffusion.model_card import ModelCard, write_card
from diffusion.output import OutputError, check_writable
from diffusion.sampling import MAX_INTEGER, RequestError, Source
from diffusion.tuned import check_tuned

MAX_TRAJECTORIES = 65_536
"""The paper's method takes 256."""


def run(args: argparse.Namespace) -> None:
    """Tune a checkpoint as the flags ask, and write its lists.

    Raises CheckpointError, DeviceError, LabelError, OutputError or RequestError; before anything is
    computed, unless the disk is full.
    """
    _check(args)
    checkpoint = open_checkpoint(args.checkpoint)
    _check_length(checkpoint)
    if args.out is None:
        _check_own(checkpoint)
        check_writable(checkpoint.folder)
    else:
        check_out(args.out, force=args.force)
    labels = _labels(checkpoint, args.trajectories, args.guidance)
    source = Source.of(checkpoint, args.device, args.runtime, args.precision, args.cache)
    steps = len(tuning.teacher_spacing(source.process))
    with tqdm(total=args.trajectories * steps, desc="tuning", unit="row") as bar:
        lists = tuning.tune(
            source, args.trajectories, args.seed, labels, args.guidance, args.batch_size, bar.update
        )
    card = _with_lists(checkpoint, lists)
    _write(args, checkpoint, card)
    for count, kept in lists.items():
        print(f"{count:3} steps: {', '.join(map(str, kept))}")
    print(f"tuned lists written to {args.out or checkpoint.folder}")


def _check(args: argparse.Namespace) -> None:
    for name, value, least, most in (
        ("trajectories", args.trajectories, 1, MAX_TRAJECTORIES),
        ("batch_size", args.batch_size, 1, MAX_INTEGER),
        ("seed", args.seed, 0, MAX_INTEGER),
        ("guidance", args.guidance, 0, MAX_GUIDANCE),
    ):
        if not least <= value <= most:
            raise RequestError(f"{name}: {value} is not allowed: it must be {least}..{most}")


def _check_own(checkpoint: Checkpoint) -> None:
    """Raise OutputError where the checkpoint's folder is not the user's to change."""
    location = checkpoint.location
    if location.origin is not None:
        # Other programs use the Hub's cache, too
        whose = "the Hub's cache" if location.revision else f"the built-in model {location.origin}"
        raise OutputError(
            checkpoint.folder, f"{whose} stays as it is; --out names a folder for a copy"
        )


def _check_length(checkpoint: Checkpoint) -> None:
    if checkpoint.unet.min_timestep > 0:
        raise RequestError(
            f"{checkpoint.name}: its network cannot be told t = 1, where tuned chains end"
        )
    T, least = checkpoint.process.num_timesteps, tuning.TUNED_STEPS.start
    if T < least:
        raise RequestError(
            f"{checkpoint.name}: its chain has {T} steps; lists are of {least} or more"
        )


def _labels(checkpoint: Checkpoint, count: int, guidance: float) -> list[int] | None:
    """One label after the other, so that each has as many trajectories."""
    num_classes = len(checkpoint.classes)
    each = [i % num_classes for i in range(count)] if num_classes else None
    known = Labels(num_classes, checkpoint.card.null_label)
    told = known.for_network(known.for_each(each, count, guidance))
    return None if told is None else list(told)


def _with_lists(checkpoint: Checkpoint, lists: dict[int, list[int]]) -> ModelCard:
    """The checkpoint's card with the same lists for each sampler that follows such paths."""
    table = {str(count): kept for count, kept in lists.items()}
    tuned: dict[str, Any] = {sampler: dict(table) for sampler in tuning.TUNED_SAMPLERS}
    check_tuned(tuned, tuning.TUNED_SAMPLERS, checkpoint.process.num_timesteps)
    card = dataclasses.replace(checkpoint.card, tuned=tuned)
    if card.recommended.get("spacing") == "tuned" and tuned != checkpoint.card.tuned:
        kept = {n: v for n, v in card.recommended.items() if n == "guidance"}
        return dataclasses.replace(card, recommended=kept)  # the rest was measured with other lists
    return card


def _write(args: argparse.Namespace, checkpoint: Checkpoint, card: ModelCard) -> None:
    try:
        if args.out is None:
            write_card(checkpoint.folder, card)
        else:
            weights_type = checkpoint.header.weights_type
            save_checkpoint(args.out, checkpoint.load(), checkpoint.process, card, weights_type)
    except OSError as error:
        where = args.out or checkpoint.folder
        raise OutputError(where, f"the lists cannot be written: {error}") from error
