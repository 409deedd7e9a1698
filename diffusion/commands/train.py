"""`ddpm train`: a run, its logs and pictures on the way, and the checkpoint at its end."""

import argparse
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion import pixels
from diffusion.checkpoint import Checkpoint, ModelCard, open_checkpoint
from diffusion.commands.export import export_run
from diffusion.config import Config, DataConfig, to_dict
from diffusion.data import datasets
from diffusion.guidance import Conditioning
from diffusion.parameterization import EpsModel
from diffusion.samplers import make_table, sample
from diffusion.spacing import default_steps
from diffusion.training import distributed
from diffusion.training.plots import draw_losses
from diffusion.training.trainer import Trainer, Writer

GRID_ROWS = 8


def run(args: argparse.Namespace) -> None:
    """Train as the flags ask; at the last step write the checkpoint to OUT/model.

    Raises CheckpointError, ConfigError, DataError, DeviceError or TrainingError.
    """
    config = Config.read(args.config)
    data = replace(config.data, path=args.data) if args.data else config.data
    with distributed.join(args.device) as (worker, device):
        with worker.first_goes_first():  # it downloads what the others then find
            channels = config.unet.in_channels
            images = datasets.load(data, "train", channels=channels, strict=args.strict)
        start = open_checkpoint(args.start) if args.start else None
        first = start.load() if start else None
        trainer = Trainer(config, images, args.out, device, worker, first)
        logs = _summary_writer(args.out / "tensorboard") if worker.is_first else nullcontext()
        with logs as writer:
            trainer.run(writer, write_sample_grid, args.until)
    if worker.is_first:
        _finish(args, config, data, trainer, start)


def _finish(
    args: argparse.Namespace,
    config: Config,
    data: DataConfig,
    trainer: Trainer,
    start: Checkpoint | None,
) -> None:
    """Draw the losses; export the model, or tell how to go on."""
    if (args.out / "log.jsonl").exists():
        _draw_losses(args.out)
    if trainer.step < config.training.num_steps:
        print(
            f"stopped at step {trainer.step} of {config.training.num_steps}; "
            "the same command continues"
        )
        return
    card = ModelCard(
        name=args.name or args.config.stem,
        data=Path(data.path).name,
        command=f"ddpm train {args.config}" + (f" --start {args.start}" if start else ""),
        trained={"data": to_dict(data)} | ({"start": _history(start)} if start else {}),
    )
    export_run(args.out, args.out / "model", card)
    print(f"model written to {args.out / 'model'}; try: ddpm sample {args.out / 'model'}")


def _history(start: Checkpoint) -> dict[str, Any]:
    """How the weights came about that a run started from, for the model card."""
    card = start.card
    return {"sha256": start.sha256, "command": card.command, "trained": card.trained}


def _draw_losses(folder: Path) -> None:
    """Write FOLDER/loss.png, where matplotlib is installed."""
    try:
        draw_losses(folder)
    except ImportError:
        print(
            "matplotlib is not installed, so loss.png is not drawn; install the extra `train`",
            file=sys.stderr,
        )


def _summary_writer(folder: Path) -> Any:
    """A TensorBoard writer; where tensorboard is not installed a hint, and a block with None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print(
            "tensorboard is not installed, so scalars go to log.jsonl only; install the extra "
            "`train`",
            file=sys.stderr,
        )
        return nullcontext()
    return SummaryWriter(str(folder))


def write_sample_grid(trainer: Trainer, writer: Writer | None) -> None:
    """Write samples/step-….png, and add it to TensorBoard: what the averaged weights make.

    A column for each label, DDIM with 50 steps. The noise is always the same, so that pictures of
    different steps can be compared.
    """
    labels = len(trainer.batches.data.classes) if trainer.batches.is_conditional else 0
    columns = labels or GRID_ROWS
    indices = torch.arange(columns * GRID_ROWS, device=trainer.device)
    label = indices % columns if labels else None
    T = trainer.process.num_timesteps
    table = make_table(trainer.process, "ddim", default_steps("ddim", T))
    shape, clip = trainer.config.unet.image_shape, trainer.config.process.clip
    model = EpsModel(trainer.ema.model, trainer.process, trainer.config.process.prediction)
    model.to(trainer.device)
    seeds = torch.zeros_like(indices)
    *_, last = sample(model, table, seeds, indices, shape, Conditioning(label), clip)
    grid = pixels.tile(pixels.to_uint8(last.x_t.cpu().numpy()), columns)
    folder = trainer.folder / "samples"
    folder.mkdir(exist_ok=True)
    pixels.picture(grid).save(folder / f"step-{trainer.step:08d}.png")
    if writer is not None:
        writer.add_image("samples", np.moveaxis(grid, -1, 0), trainer.step)
