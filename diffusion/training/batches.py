"""What every training step draws (Algorithm 1, lines 2-4): images, labels, t and eps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion import pixels
from diffusion.config import Config
from diffusion.data.images import Images
from diffusion.process import Process
from diffusion.training.augmentation import classes_to_flip, flip, move
from diffusion.training.randomness import Stream, generator_at
from diffusion.training.timestep_sampler import Importance, Uniform


@dataclass(frozen=True)
class Batch:
    """What one optimiser step draws (Algorithm 1, lines 2-4)."""

    x_0: Tensor  # (B,C,H,W) in [-1, 1]
    t: Tensor  # (B,) int64, over 0..T-1
    eps: Tensor  # like x_0, standard normal
    label: Tensor | None  # (B,) int64
    weight: Tensor  # (B,) of the losses: 1 where t is uniform

    def part(self, i: int, count: int) -> "Batch":
        """Return the i-th of `count` equal parts of the batch."""
        return self._each(lambda tensor: tensor.chunk(count)[i])

    def rows(self, index: Tensor) -> "Batch":
        """Return the images of these indices, int64 (B,)."""
        return self._each(lambda tensor: tensor[index])

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        label = None if self.label is None else change(self.label)
        return Batch(change(self.x_0), change(self.t), change(self.eps), label, change(self.weight))


class Batches:
    """Draws the batch of any step: a function of (seed, step) alone.

    Where t is drawn by importance it depends on the losses so far too. Then the batches must be
    drawn in order, and `times` told the losses.
    """

    def __init__(self, data: Images, config: Config, process: Process) -> None:
        self.data = data
        self.config = config.training
        self.times = Uniform(process.num_timesteps)
        if config.training.timesteps == "importance":
            share = config.training.uniform_share
            self.times = Importance(process.num_timesteps, share)
        self.null_label = null_label(config)
        self.may_flip = classes_to_flip(config.training, data)
        self.is_conditional = config.unet.num_class_embeds is not None
        self._prepared: dict[int, Batch] = {}
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> Batch:
        """Return the batch of step `step`; over an epoch every image is drawn once."""
        return self._prepared.pop(step, None) or self._draw(step)

    def prepare(self, step: int) -> None:
        """Draw the batch of step `step` in advance, unless its draws wait for losses."""
        if self.config.timesteps != "importance":
            self._prepared = {step: self._draw(step)}

    def _draw(self, step: int) -> Batch:
        config = self.config
        # A resumed run, and one of an older version, must draw the same: keep the order of draws.
        generator = generator_at(config.seed, Stream.BATCH, step)
        # 2: x_0 ~ q(x_0), in an order that is new in every epoch
        B = config.batch_size
        index = self._indices(torch.arange(step * B, (step + 1) * B))
        x_0 = pixels.to_model(self.data.pixels[index])
        classes = None if self.data.labels is None else self.data.labels[index]
        if config.horizontal_flip:
            x_0 = flip(x_0, self.may_flip, classes, generator)
        # 3: t ~ Uniform({1, …, T}), or by importance
        t, weight = self.times.draw(B, generator)
        # 4: eps ~ N(0, I)
        eps = torch.randn(x_0.shape, generator=generator)
        # Labels, some dropped so that the network learns to do without (Ho & Salimans 2022)
        label = None
        if self.is_conditional and classes is not None:
            drop = torch.rand(B, generator=generator) < config.label_dropout
            label = torch.where(drop, self.null_label or 0, classes)
        if config.shift:
            x_0 = move(x_0, config.shift, generator)
        return Batch(x_0, t, eps, label, weight)

    def _indices(self, position: Tensor) -> Tensor:
        """Which images have these positions in the endless row of epochs, int64 (B,)."""
        size = len(self.data)
        epochs = position // size
        parts = [
            self._permutation(epoch)[position[epochs == epoch] % size]
            for epoch in epochs.unique().tolist()
        ]
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = generator_at(self.config.seed, Stream.ORDER, epoch)
            self._order = torch.randperm(len(self.data), generator=generator)
            self._epoch = epoch
        return self._order


def null_label(config: Config) -> int | None:
    """Return the label that means "no label": the class embedding's last row, where the run drops
    labels for guidance, else None."""
    rows = config.unet.num_class_embeds
    return rows - 1 if rows is not None and config.training.label_dropout else None
