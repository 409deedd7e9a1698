"""`ddpm average`: a run's weights averaged over a length that is chosen after training."""

import argparse
import shlex
from pathlib import Path

from safetensors import SafetensorError

from diffusion.checkpoint import open_checkpoint
from diffusion.commands.export import check_out, export_run
from diffusion.model_card import ModelCard
from diffusion.output import OutputError
from diffusion.training import snapshots
from diffusion.training.errors import TrainingError
from diffusion.training.snapshots import Average
from diffusion.training.states import saved_states


def run(args: argparse.Namespace) -> None:
    """Write the average that the flags ask for as a checkpoint.

    Raises OutputError where none can be written, ConfigError for a length that cannot be made,
    TrainingError where the run, its snapshots or that step are not there, or are damaged, or
    CheckpointError where the run's own model is.
    """
    check_out(args.out, force=args.force)
    if not saved_states(args.source):
        raise TrainingError(f"{args.source} is not the folder of a run: it holds no saved state")
    average = snapshots.average(args.source, args.sigma_rel, args.step)
    card = _card(args, average)
    try:
        export_run(args.source, args.out, card, args.weights_dtype, average)
    except (OSError, SafetensorError) as error:
        raise OutputError(args.out, f"the checkpoint cannot be written: {error}") from error
    print(
        f"checkpoint written to {args.out}: the average of sigma_rel {average.sigma_rel} as of "
        f"step {average.step}, its weights of the steps within {average.misfit:.2g} of exact"
    )


def _card(args: argparse.Namespace, average: Average) -> ModelCard:
    """What the run does not know: how this model was made of it, and by what it was trained, which
    the card of the run's own model tells."""
    made = ["ddpm", "average", str(args.source), "--sigma-rel", str(average.sigma_rel)]
    made += ["--step", str(average.step)]
    trained = _model_of(args.source)
    commands = [trained.command] if trained.command else []
    how = {"sigma_rel": average.sigma_rel, "misfit": average.misfit}
    data = {name: trained.trained[name] for name in ("data",) if name in trained.trained}
    return ModelCard(
        name=args.name or args.out.name,
        data=trained.data,
        command=" && ".join([*commands, shlex.join(made)]),
        trained={**data, "average": how},
    )


def _model_of(run: Path) -> ModelCard:
    """The card of the model that a run wrote at its end; an empty one where it has not ended."""
    model = run / "model"
    return open_checkpoint(model.absolute()).card if model.is_dir() else ModelCard()
