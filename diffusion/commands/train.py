"""`ddpm train`: a run, its logs and pictures on the way, and the checkpoint at its end."""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.commands.export import export_run
from diffusion.config import Config, DataConfig
from diffusion.data import datasets
from diffusion.fields import to_dict
from diffusion.model_card import ModelCard
from diffusion.training import distributed, states
from diffusion.training.checks import (
    check_folder,
    check_place,
    check_room,
    check_start,
    check_until,
    memory_errors_told,
)
from diffusion.training.distributed import Worker
from diffusion.training.errors import Interrupted, TrainingError
from diffusion.training.lock import locked
from diffusion.training.plots import draw_losses
from diffusion.training.run_log import Writer
from diffusion.training.sample_grid import draw_missing, draw_samples
from diffusion.training.schedule import settle_length
from diffusion.training.stopping import ending_at_once, listening
from diffusion.training.summary import parameters, summary
from diffusion.training.terminal import Lasting
from diffusion.training.trainer import Trainer
from diffusion.training.words import duration


@dataclass(frozen=True)
class Job:
    """What a process has been asked to do, and what it has to do it with."""

    args: argparse.Namespace
    config: Config
    data: DataConfig
    start: Checkpoint | None
    worker: Worker
    device: torch.device


def run(args: argparse.Namespace) -> None:
    """Train as the flags ask; at the last step write the checkpoint to OUT/model.

    Raises CheckpointError, ConfigError, DataError, DeviceError or TrainingError, and Interrupted
    where a signal ended the run after its state was saved.
    """
    config = Config.read(args.config)
    if args.out is None and not args.dry_run:
        raise TrainingError("--out: the folder of the run is missing; only --dry-run needs none")
    data = replace(config.data, path=args.data) if args.data else config.data
    start = open_checkpoint(args.start) if args.start else None
    if start:
        check_start(start.unet)
    with distributed.join(args.device) as (worker, device):
        job = Job(args, config, data, start, worker, device)
        with ending_at_once(silent=not worker.is_first):
            if args.dry_run:
                _try_a_step(job)
            else:
                with _alone_in(args.out) if worker.is_first else nullcontext():
                    _train(job)


def _try_a_step(job: Job) -> None:
    """Say what a run would do, and how long a step takes. Nothing is written."""
    if job.args.out:
        check_place(job.args.out)
    trainer = _prepare(job, job.args.out or Path(os.devnull))
    with memory_errors_told(job.config.training):
        first, second = _step_seconds(trainer), _step_seconds(trainer)
    if job.worker.is_first:
        num_steps = trainer.config.training.num_steps
        _say(f"a step took {second:.3g} s, and the first one, which also loads code, {first:.3g} s")
        _say(f"at that pace {num_steps:,} steps take about {duration(num_steps * second)}")


def _step_seconds(trainer: Trainer) -> float:
    """Take a step, and return how long it took."""
    started = time.monotonic()
    trainer.train_step()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.monotonic() - started


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """A block in which the folder of the run can be written to, and no other process does."""
    check_folder(out)
    with locked(out):
        yield


def _train(job: Job) -> None:
    """Train, write what a run leaves behind, and raise Interrupted where a signal came."""
    args, worker = job.args, job.worker
    trainer = _prepare(job, args.out)
    if worker.is_first and not trainer.is_done:
        check_room(args.out, parameters(trainer), trainer.config.training, trainer.step)
    with listening(silent=not worker.is_first) as stop:
        with memory_errors_told(job.config.training), _tensorboard(trainer) as writer:
            on_sample = None if args.no_samples else partial(draw_samples, stop=stop)
            if on_sample and worker.is_first:
                draw_missing(trainer, writer, stop)
            number = trainer.run(writer, on_sample, args.until, stop)
        if worker.is_first:
            _finish(trainer, _card(job, trainer.history))
        number = number or stop.number
    if number:
        raise Interrupted(number, _ended_by(number, args, trainer) if worker.is_first else "")
    if worker.is_first and not trainer.is_done:
        _say(f"stopped at step {trainer.step} of {trainer.config.training.num_steps}")
        _say(f"go on with: {_command(args, worker, until=False)}")


def _prepare(job: Job, out: Path) -> Trainer:
    """Read the data and the state that the run goes on from, and say what it is going to do."""
    args, worker = job.args, job.worker
    reached = states.reached(out)
    config, note = settle_length(job.config, reached, args.num_steps)
    check_until(args.until, reached)
    first = job.start.load() if job.start else None
    with worker.first_goes_first():  # it downloads what the others then find
        channels = config.unet.in_channels
        images = datasets.load(job.data, "train", channels=channels, strict=args.strict)
    with memory_errors_told(config.training):
        history = _history(job.start) if job.start else None
        trainer = Trainer(config, images, out, job.device, worker, first, history)
        told = [summary(trainer), *([note] if note else [])]
    if worker.is_first:
        _say("\n".join(told))
    return trainer


def _history(start: Checkpoint) -> dict[str, Any]:
    """How the weights came about that a run starts from."""
    card = start.card
    return {"sha256": start.sha256, "command": card.command, "trained": card.trained}


def _card(job: Job, history: dict[str, Any] | None) -> ModelCard:
    """What only the command line knows of the model that a run makes, and the `history` of the
    weights that it started from."""
    args = job.args
    named = replace(job.data, path=Path(job.data.path).name)  # not where it is on this machine
    return ModelCard(
        name=args.name or args.config.stem,
        data=named.path,
        command=_shown("ddpm train", args, ("start", "data", "num_steps")),
        trained={"data": to_dict(named)} | ({"start": history} if history else {}),
    )


def _finish(trainer: Trainer, card: ModelCard) -> None:
    """Export the model of a run that has taken its last step, and draw the losses."""
    run, model = trainer.folder, trainer.folder / "model"
    if trainer.is_done:
        _export(run, model, card)
        _say(f"model written to {model}; try: ddpm sample {model}")
    if (run / "log.jsonl").exists():
        _draw_losses(run)


def _export(run: Path, model: Path, card: ModelCard) -> None:
    try:
        export_run(run, model, card)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the model cannot be written to {model}: {error}; the run is whole: mend that, and "
            f"the same command writes it, or `ddpm export {run} FOLDER` does"
        ) from error


def _ended_by(number: int, args: argparse.Namespace, trainer: Trainer) -> str:
    """What a signal ended, and how to go on."""
    name = signal.Signals(number).name
    if trainer.is_done:
        return f"{name}: the run was done, and its model is in {args.out / 'model'}"
    return (
        f"{name}: stopped after step {trainer.step} of {trainer.config.training.num_steps}, which "
        f"is saved in {args.out}; go on with:\n  {_command(args, trainer.worker)}"
    )


def _command(args: argparse.Namespace, worker: Worker, *, until: bool = True) -> str:
    """The command line that goes on with a run."""
    program = "ddpm train"
    if worker.count > 1:
        here = os.environ.get("LOCAL_WORLD_SIZE", worker.count)
        program = f"torchrun --nproc-per-node {here} -m diffusion train"
    flags = ["out", "name", "start", "data", "num_steps", "no_samples", "strict"]
    if args.device != "auto":
        flags.append("device")
    return _shown(program, args, [*flags, "until"] if until else flags)


def _shown(program: str, args: argparse.Namespace, flags: Sequence[str]) -> str:
    """A command line with those of the flags that are set."""
    words = [str(args.config)]
    for flag in flags:
        value = getattr(args, flag)
        if value not in (None, False):
            words.append("--" + flag.replace("_", "-"))
            words.extend([] if value is True else [str(value)])
    return f"{program} {shlex.join(words)}"


def _draw_losses(folder: Path) -> None:
    """Write FOLDER/loss.png, where matplotlib is installed. A failure is only reported."""
    try:
        draw_losses(folder)
    except ImportError:
        _warn("matplotlib is not installed, so loss.png is not drawn; install the extra `train`")
    except Exception as error:  # whatever it is: the run is saved, and worth more than a picture
        _warn(f"loss.png is not drawn: {error}")


@contextmanager
def _tensorboard(trainer: Trainer) -> Iterator[Writer | None]:
    """A block with a TensorBoard writer that goes on after the trainer's step, at which TensorBoard
    then cuts off what came before. None in workers that write nothing, and, with a hint, where
    there is no TensorBoard."""
    writer = _summary_writer(trainer) if trainer.worker.is_first else None
    try:
        yield writer
    finally:
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                _warn(f"the last scalars are missing in TensorBoard: {error}")


def _summary_writer(trainer: Trainer) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(trainer.folder / "tensorboard"), purge_step=trainer.step + 1)
    except ImportError:
        _warn(
            "tensorboard is not installed, so scalars go to log.jsonl only; install the extra "
            "`train`"
        )
    except OSError as error:
        _warn(f"scalars go to log.jsonl only: {error}")
    return None


def _say(message: str) -> None:
    print(message, file=Lasting(sys.stdout))


def _warn(message: str) -> None:
    print(message, file=Lasting(sys.stderr))
