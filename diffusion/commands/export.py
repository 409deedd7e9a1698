"""`ddpm export`: a checkpoint in the diffusers format, of a run or of another checkpoint."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from diffusion.checkpoint import (
    Checkpoint,
    open_checkpoint,
    save_checkpoint,
)
from diffusion.config import Config, WeightsType
from diffusion.data.built_in import BUILT_IN
from diffusion.evaluation.card import ReportError, read_precisions, read_quality, recommend
from diffusion.fields import from_dict, to_dict
from diffusion.model_card import ModelCard
from diffusion.networks.registry import without_diffusers
from diffusion.output import OutputError, check_writable
from diffusion.training.batches import null_label
from diffusion.training.snapshots import Average
from diffusion.training.states import damage_told, read_facts, saved_states
from diffusion.unet import UNet


def run(args: argparse.Namespace) -> None:
    """Write the checkpoint that the flags ask for.

    Raises OutputError, CheckpointError, TrainingError where a run's state is damaged, or
    ReportError where a report is not of these weights.
    """
    check_out(args.out, force=args.force)
    try:
        _export(args)
    except (OSError, SafetensorError) as error:  # what cannot be read has errors of its own
        raise OutputError(args.out, f"the checkpoint cannot be written: {error}") from error
    print(f"checkpoint written to {args.out}")


def _export(args: argparse.Namespace) -> None:
    if not saved_states(Path(args.source)):
        _export_checkpoint(args)
        return
    if args.report:
        raise ReportError(
            f"report: {args.source} is a run; evaluate and export the checkpoint in its model/"
        )
    card = ModelCard(name=args.name or args.out.name)
    export_run(Path(args.source), args.out, card, args.weights_dtype or "float32")


def check_out(out: Path, *, force: bool) -> None:
    """Raise OutputError unless a checkpoint can be written to the folder `out`.

    One that is there is replaced with `force` alone, and anything else never: a folder is replaced
    as a whole.
    """
    check_writable(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "model_index.json").is_file():
        raise OutputError(out, "it exists, and is not a checkpoint")
    if not force:
        raise OutputError(out, "the checkpoint exists; --force replaces it")


def _export_checkpoint(args: argparse.Namespace) -> None:
    checkpoint = open_checkpoint(args.source)
    card = checkpoint.card
    if checkpoint.location.revision:
        card = dataclasses.replace(card, name=checkpoint.name, source=checkpoint.origin)
    if args.name:
        card = dataclasses.replace(card, name=args.name)
    if args.report:
        card = _measured(card, args.report, checkpoint)
    weights_type = args.weights_dtype or checkpoint.header.weights_type
    save_checkpoint(args.out, checkpoint.load(), checkpoint.process, card, weights_type)
    note = without_diffusers(checkpoint.unet)
    if note:
        print(note)
    is_rounded = weights_type not in ("float32", checkpoint.header.weights_type)
    if is_rounded and (card.quality or card.precisions):
        print("what the card says was measured is of the weights before they were rounded")


def _measured(card: ModelCard, reports: Sequence[Path], checkpoint: Checkpoint) -> ModelCard:
    """The card with what reports tell: of quality, of precisions, or of both."""
    precisions = {**card.precisions, **read_precisions(reports, checkpoint.sha256)}
    card = dataclasses.replace(card, precisions=precisions)
    quality = read_quality(reports, checkpoint.sha256)
    if not quality:
        return card
    recommended = recommend(quality, card.tuned, checkpoint.process.num_timesteps)
    return dataclasses.replace(card, quality=quality, recommended=recommended)


def export_run(
    run: Path,
    out: Path,
    card: ModelCard,
    weights_type: WeightsType = "float32",
    average: Average | None = None,
) -> None:
    """Write the averaged weights (EMA) of a run's last state, or another average, as a checkpoint.

    `card` says what the run does not know, such as the name; the run's own facts are filled in.
    Raises TrainingError where that state is damaged, OSError or SafetensorError where `out` cannot
    be written.
    """
    state = saved_states(run)[-1]
    meta = read_facts(state)
    with damage_told(state):
        config = from_dict(Config, meta["config"])
        model = UNet(config.unet)
        weights = average.weights if average else load_file(state / "ema.safetensors")
        model.load_state_dict(weights)
    if average:
        meta["step"] = average.step
    filled = dataclasses.replace(
        card,
        null_label=null_label(config),
        classes=tuple(meta.get("classes", ())) if config.unet.num_class_embeds else (),
        data=card.data or Path(config.data.path).name,
        license=card.license or _license(config.data.path),
        trained={**_trained(meta, config), **card.trained},
    )
    save_checkpoint(out, model, config.process, filled, weights_type)


def _license(data: str) -> str | None:
    """The licence of a built-in data set."""
    return BUILT_IN[data].license if data in BUILT_IN else None


def _trained(meta: dict[str, Any], config: Config) -> dict[str, Any]:
    """How long, by what and where the run of a state.json was trained, for the model card."""
    # States of older versions do not say where; this machine may well be another one.
    recorded: dict[str, Any] = {name: meta[name] for name in ("torch", "machine") if name in meta}
    if meta.get("start"):
        recorded["start"] = meta["start"]
    data = dataclasses.replace(config.data, path=Path(config.data.path).name)
    return {
        "steps": meta["step"],
        "images": meta["step"] * config.training.batch_size,
        "config": meta["config"]["training"],
        "data": to_dict(data),  # how it was read, by which the model is evaluated
        **recorded,
    }
