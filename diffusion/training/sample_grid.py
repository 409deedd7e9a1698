"""What a model makes while it is trained: a grid of samples, every so many steps."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.guidance import Conditioning
from diffusion.parameterization import EpsModel
from diffusion.reverse import sample
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table
from diffusion.spacing import default_steps
from diffusion.training.run_log import Writer
from diffusion.training.stopping import Stop
from diffusion.training.terminal import progress_bar
from diffusion.training.trainer import Trainer

log = logging.getLogger(__name__)

ROWS = 8
MOST_COLUMNS = 16
"""Of a model with more classes, the first ones are shown."""


def draw_samples(trainer: Trainer, writer: Writer | None, stop: Stop) -> None:
    """Write samples/step-….png, and add it to TensorBoard: what the averaged weights make.

    A column for each label, DDIM with 50 steps. The noise is always the same, so that pictures of
    different steps can be compared. A failure is reported, and training goes on; where a `stop` is
    asked for meanwhile, nothing is written.
    """
    try:
        _draw_samples(trainer, writer, stop)
    except Exception as error:  # whatever it is: the state is saved, and worth more than a picture
        log.warning("step %d: no samples: %s", trainer.step, str(error) or type(error).__name__)


def draw_missing(trainer: Trainer, writer: Writer | None, stop: Stop) -> None:
    """Draw the samples of the step that a run goes on from, as `draw_samples` does, where they were
    due and a signal came first."""
    if trainer.step and trainer.is_time_for_samples and not _grid(trainer).exists():
        draw_samples(trainer, writer, stop)


def _grid(trainer: Trainer) -> Path:
    return trainer.folder / "samples" / f"step-{trainer.step:08d}.png"


def _draw_samples(trainer: Trainer, writer: Writer | None, stop: Stop) -> None:
    labels = len(trainer.batches.data.classes) if trainer.batches.is_conditional else 0
    columns = min(labels, MOST_COLUMNS) or ROWS
    indices = torch.arange(columns * ROWS, device=trainer.device)
    T = trainer.process.num_timesteps
    table = make_table(trainer.process, "ddim", default_steps("ddim", T))
    made = []
    # As many at once as are trained on at once, for which there is memory
    parts = indices.split(trainer.images_at_once)
    title = f"samples of step {trainer.step}"
    with progress_bar(len(parts) * len(table), title, beside=True) as bar:
        for part in parts:
            x_0 = _sample(trainer, table, part, part % columns if labels else None, bar, stop)
            if x_0 is None:
                return
            made.append(x_0)
    grid = pixels.tile(pixels.to_uint8(torch.cat(made).numpy()), columns)
    path = _grid(trainer)
    path.parent.mkdir(exist_ok=True)
    pixels.picture(grid).save(path)
    if writer is not None:
        writer.add_image("samples", np.moveaxis(grid, -1, 0), trainer.step)


def _sample(
    trainer: Trainer,
    table: SamplerTable,
    indices: Tensor,
    label: Tensor | None,
    bar: "tqdm[Any]",
    stop: Stop,
) -> Tensor | None:
    """Make the samples of these indices, (B,C,H,W) on the CPU; None when a stop was asked for."""
    shape, process = trainer.config.unet.image_shape, trainer.config.process
    model = EpsModel(trainer.ema.model, trainer.process, process.prediction).to(trainer.device)
    seeds = torch.zeros_like(indices)
    for state in sample(model, table, seeds, indices, shape, Conditioning(label), process.clip):
        bar.update(state.t > 0)
        if stop.number:
            return None
    return state.x_t.cpu()
