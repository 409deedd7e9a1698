"""Algorithm 1, lines 2-4: what every training step draws, images, t, eps and labels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion import pixels
from diffusion.config import Config
from diffusion.data.readers import Images
from diffusion.process import Process
from diffusion.training.randomness import Stream, generator_at
from diffusion.training.timestep_sampler import Importance, Uniform


@dataclass(frozen=True)
class Batch:
    """One optimiser step's draws, on the CPU: Algorithm 1, lines 2-4."""

    x_0: Tensor  # (B,C,H,W) in [-1, 1]
    t: Tensor  # (B,) int64, over 0..T-1
    eps: Tensor  # like x_0, standard normal
    label: Tensor | None  # (B,) int64
    weight: Tensor  # (B,) of the losses: 1 where t is uniform

    def part(self, i: int, count: int) -> "Batch":
        """The i-th of `count` equal parts."""
        return self._each(lambda tensor: tensor.chunk(count)[i])

    def to(self, device: torch.device) -> "Batch":
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        label = None if self.label is None else change(self.label)
        return Batch(change(self.x_0), change(self.t), change(self.eps), label, change(self.weight))


class Batches:
    """Draws the batch of any step: a function of (seed, step), and of the losses so far where t is
    drawn by importance."""

    def __init__(self, data: Images, config: Config, process: Process) -> None:
        self.data = data
        self.config = config.training
        self.times = Uniform(process.num_timesteps)
        if config.training.timesteps == "importance":
            share = config.training.uniform_share
            self.times = Importance(process.num_timesteps, share)
        self.null_label = null_label(config)
        self.is_conditional = config.unet.num_class_embeds is not None
        self._prepared: dict[int, Batch] = {}
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> Batch:
        """The images of step `step`, each epoch a new permutation of the data, and the draws."""
        return self._prepared.pop(step, None) or self._draw(step)

    def prepare(self, step: int) -> None:
        """Draw that step's batch now, unless its draws depend on losses still to come."""
        if self.config.timesteps != "importance":
            self._prepared = {step: self._draw(step)}

    def _draw(self, step: int) -> Batch:
        config = self.config
        generator = generator_at(config.seed, Stream.BATCH, step)
        B = config.batch_size
        index = self._indices(torch.arange(step * B, (step + 1) * B))
        x_0 = pixels.to_model(self.data.pixels[index])
        if config.horizontal_flip:
            flip = torch.rand(B, generator=generator) < 0.5
            x_0 = torch.where(flip[:, None, None, None], x_0.flip(-1), x_0)
        t, weight = self.times.draw(B, generator)
        eps = torch.randn(x_0.shape, generator=generator)
        label = None
        if self.is_conditional and self.data.labels is not None:
            drop = torch.rand(B, generator=generator) < config.label_dropout
            label = torch.where(drop, self.null_label or 0, self.data.labels[index])
        return Batch(x_0, t, eps, label, weight)

    def _indices(self, position: Tensor) -> Tensor:
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
    """The class embedding's last row, when labels are dropped for guidance."""
    rows = config.unet.num_class_embeds
    return rows - 1 if rows is not None and config.training.label_dropout else None
