"""Algorithm 1: training with L_simple (eq. 14) or another objective, resumable to the bit.

All randomness of a run is a function of (seed, step): the images, t and eps of a step, which labels
are dropped and which units (and of the losses so far, where t is drawn by importance). So a resumed
run needs no generator's state, and gives the same weights as one that was never stopped.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.config import Config, TrainingConfig, to_dict
from diffusion.data.images import Images
from diffusion.devices import describe_machine
from diffusion.process import Process
from diffusion.training import states
from diffusion.training.batches import Batch, Batches, null_label
from diffusion.training.distributed import Worker, averaging
from diffusion.training.ema import EMA
from diffusion.training.errors import TrainingError
from diffusion.training.losses import Losses, Objective
from diffusion.training.meter import Meter
from diffusion.training.randomness import Stream, generator_at
from diffusion.training.states import State
from diffusion.unet import UNet, initialise

log = logging.getLogger(__name__)

ALONE = Worker()


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then constant, as in the paper, or a
    cosine down to 0 at `num_steps`."""
    # Appendix B: 2e-4, constant. Its code warms up over 5000 steps; the cosine is not the paper's.
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.decay == "none":
        return config.learning_rate * warmup
    progress = torch.tensor(step / config.num_steps * torch.pi)
    return config.learning_rate * warmup * 0.5 * (1 + torch.cos(progress).item())


class Writer(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None: ...
    def add_image(self, tag: str, image: Any, step: int, /) -> None: ...


class Trainer:
    """A training run in a folder of its own, which holds log.jsonl and states/step-….

    A new run starts at step 0, from random weights or those of `start`. Where the folder holds a
    state, the run continues from there. Raises TrainingError when that state is of another
    configuration, `start` of another network, or the data do not fit the network.
    """

    def __init__(
        self,
        config: Config,
        data: Images,
        folder: Path,
        device: torch.device | str = "cpu",
        worker: Worker = ALONE,
        start: UNet | None = None,
    ) -> None:
        _check_data(config, data)
        _check_shares(config.training, worker)
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
        self.worker = worker
        self.process = Process.from_config(config.process)
        self.batches = Batches(data, config, self.process)
        # The network, its first weights a function of the seed
        torch.manual_seed(config.training.seed)
        self.model = UNet(config.unet)
        initialise(self.model)
        if start is not None:
            _copy_weights(start, self.model)
        self.model.to(self.device)
        if config.training.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What follows the weights, and what moves them (Adam and an EMA of 0.9999, appendix B)
        self.ema = EMA(self.model, config.training.ema_decay)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self.step = 0
        # The network as it is called: compiled, and wrapped to average over workers. What is saved
        # is `self.model`, whose names stay those of the checkpoint.
        network: nn.Module = self.model
        if config.training.compile and self.device.type == "cuda":
            network = cast(nn.Module, torch.compile(self.model))
        self._network = worker.share(network)
        self._objective = Objective(config, self.process, self.model, self._network)
        self._meter = Meter(self.process.num_timesteps, workers=worker.count)
        with worker.first_goes_first():  # it removes unfinished states, which others must not see
            self._resume()

    def run(
        self,
        writer: Writer | None = None,
        on_sample: Callable[["Trainer", Writer | None], None] | None = None,
        until: int | None = None,
    ) -> None:
        """Train up to `num_steps`, or only up to the step `until`.

        On the way states are saved, scalars logged, and `on_sample` called, as often as
        `config.training` says. Raises TrainingError as `train_step` does.
        """
        training = self.config.training
        last = min(training.num_steps, until or training.num_steps)
        first = self.worker.is_first
        bar = tqdm(
            total=training.num_steps, initial=self.step, unit="step", desc="training",
            disable=not first,
        )  # fmt: skip
        with bar:
            while self.step < last:  # Algorithm 1, lines 1 and 6: repeat … until converged
                self.train_step()
                bar.update()
                if self.step % training.log_every == 0:
                    self._log(bar, writer)
                if not first:  # the others only train
                    continue
                if on_sample and training.sample_every and self.step % training.sample_every == 0:
                    on_sample(self, writer)
                if self.step % training.save_every == 0 or self.step == last:
                    self.save()

    def train_step(self) -> None:
        """Take one step of Algorithm 1, lines 2-5.

        Raises TrainingError when the loss or its gradient is not finite, before any weight changes.
        """
        training = self.config.training
        # 2-4: x_0, t, eps; the same in every worker, which takes its parts of them
        batch = self.batches.at(self.step)
        self.model.train()
        self.optimizer.zero_grad()
        # 5: the gradient of the loss, summed over the parts of the batch
        parts = training.accumulate * self.worker.count
        own: list[Tensor] = []
        for i in range(training.accumulate):
            number = self.worker.rank * training.accumulate + i
            dropout = generator_at(training.seed, Stream.DROPOUT, self.step * parts + number)
            torch.manual_seed(dropout.initial_seed())  # dropout draws from the global generator
            part = batch.part(number, parts)
            losses = self._backward(part, is_last=i + 1 == training.accumulate)
            self._meter.add(part, losses)
            own.append(losses.total)
        # Nothing so far waits for a GPU; the norm below does
        self.batches.prepare(self.step + 1)  # while a GPU is still at work on this one
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        if not bool(torch.isfinite(norm)):
            raise TrainingError(
                f"step {self.step}: the loss or its gradient is not finite (norm {norm.item()}); "
                f"lower the learning rate and resume from the last state in {self.folder}"
            )
        self._meter.norms.append(norm.detach())
        # 5: the gradient descent step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, self.step)
        self.optimizer.step()
        # What follows the weights: which t matter, and their moving average
        if training.timesteps == "importance":
            totals = self.worker.gather(torch.cat(own)).cpu()
            self.batches.times.note(batch.t, totals)
        self.ema.update(self.model, self.step)
        self.step += 1

    def _backward(self, batch: Batch, *, is_last: bool) -> Losses:
        """Add this part's gradient; with the last part average it over the workers.

        The losses are on the device, which may still be computing them.
        """
        training = self.config.training
        enabled = training.precision == "bfloat16"
        with averaging(self._network, now=is_last):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
                losses = self._objective(batch.to(self.device))
            # The weight makes the mean that over uniform t. Divided by their number, the means of
            # the parts add up to the mean of the whole batch.
            weighted = losses.total * batch.weight.to(losses.total)
            (weighted.mean() / training.accumulate).backward()
        return Losses(losses.total.detach(), losses.simple.detach())

    def _log(self, bar: "tqdm[Any]", writer: Writer | None) -> None:
        scalars = self._meter.scalars()
        if not self.worker.is_first:
            return
        bar.set_postfix(loss=f"{scalars['loss']:.4f}", img_s=f"{scalars['images_per_second']:.0f}")
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **scalars}) + "\n")
        if writer is not None:
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, self.step)

    def save(self) -> None:
        """Write the whole state, or nothing; all states but the last KEEP_STATES are removed."""
        states.write(
            self.folder,
            State(
                step=self.step,
                model=dict(self.model.state_dict()),
                ema=dict(self.ema.model.state_dict()),
                optimizer=states.optimizer_tensors(self.optimizer),
                timesteps=self.batches.times.state(),
                facts={
                    "config": to_dict(self.config),
                    "classes": list(self.batches.data.classes),
                    "torch": str(torch.__version__),
                    "machine": self._machine(),
                },
            ),
        )

    def _machine(self) -> str:
        """What trains this run, for the model card of what is exported from it."""
        alone = self.worker.count == 1
        workers = "" if alone else f", {self.worker.count} workers"
        return describe_machine(self.device) + workers

    def _resume(self) -> None:
        """Continue from the last state of the folder, if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.worker.is_first:
            states.remove_unfinished(self.folder)
        saved = states.saved_states(self.folder)
        if not saved:
            return
        state = states.read(saved[-1])
        states.check_same_run(self.folder, state.facts["config"], self.config)
        self.model.load_state_dict(state.model)
        self.ema.model.load_state_dict(state.ema)
        self.batches.times.load(state.timesteps)
        states.load_optimizer(self.optimizer, list(self.model.parameters()), state.optimizer)
        self.step = state.step
        log.info("resumed from %s", saved[-1])


def _copy_weights(start: UNet, model: UNet) -> None:
    """Copy all weights; those of v stay the model's own where `start` learned no variance.

    Raises TrainingError where the networks differ in anything else.
    """
    weights, own = start.state_dict(), model.state_dict()
    if own["conv_out.weight"].shape[0] == 2 * weights["conv_out.weight"].shape[0]:
        # The first half of the last layer's channels gives eps_hat, the second v
        for name in ("conv_out.weight", "conv_out.bias"):
            weights[name] = torch.cat([weights[name], own[name][len(weights[name]) :]])
    for name in own.keys() | weights.keys():
        here, there = (
            tuple(state[name].shape) if name in state else "missing" for state in (own, weights)
        )
        if here != there:
            raise TrainingError(
                f"start: its network is not the configuration's: {name} is {there} there, "
                f"{here} here"
            )
    model.load_state_dict(weights)


def _check_shares(training: TrainingConfig, worker: Worker) -> None:
    parts = training.accumulate * worker.count
    if training.batch_size % parts:
        raise TrainingError(
            f"batch_size: {training.batch_size} is not a multiple of {parts}: {worker.count} "
            f"workers, each running its share in {training.accumulate} parts"
        )


def _check_data(config: Config, data: Images) -> None:
    shape = tuple(data.pixels.shape[1:])
    if shape != config.unet.image_shape:
        raise TrainingError(
            f"data: the images are {shape}, but the network takes {config.unet.image_shape}"
        )
    rows = config.unet.num_class_embeds
    if rows is None:
        return
    if data.labels is None:
        raise TrainingError("num_class_embeds: it is set, but the data has no labels")
    wanted = int(data.labels.max()) + 1 + (null_label(config) is not None)
    if rows != wanted:
        raise TrainingError(f"num_class_embeds: {rows}, but the data needs {wanted}")
