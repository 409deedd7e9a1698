"""Algorithm 1: training with L_simple (eq. 14) or another objective, resumable to the bit.

All randomness of a run is a function of (seed, step): the images, t and eps of a step, which labels
are dropped and which units (and of the losses so far, where t is drawn by importance). So a resumed
run needs no generator's state, and gives the same weights as one that was never stopped.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.atomic import atomic_folder
from diffusion.config import Config, TrainingConfig, to_dict
from diffusion.data.readers import Images
from diffusion.devices import describe_machine
from diffusion.process import Process
from diffusion.training.batches import Batch, Batches, null_label
from diffusion.training.distributed import Worker, averaging
from diffusion.training.ema import EMA
from diffusion.training.errors import TrainingError
from diffusion.training.losses import Losses, Objective
from diffusion.training.randomness import Stream, generator_at
from diffusion.unet import UNet, initialise

log = logging.getLogger(__name__)

ALONE = Worker()
KEEP_STATES = 2
"""How many saved states stay on disk: the newest, and one more in case that is lost."""
QUARTILES = 4
"""Into how many equal ranges of t L_simple is told apart in the log."""


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then constant, as in the paper, or a
    cosine down to 0 at `num_steps`."""
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.decay == "none":
        return config.learning_rate * warmup
    progress = torch.tensor(step / config.num_steps * torch.pi)
    return config.learning_rate * warmup * 0.5 * (1 + torch.cos(progress).item())


class Writer(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None: ...
    def add_image(self, tag: str, image: Any, step: int, /) -> None: ...


@dataclass
class Meter:
    """What is logged: means since the last log line, of losses, gradient norm and images/s.

    The losses are the one that is minimised, and L_simple, over all t and by quarter of t. Their
    means are those over uniform t, however t was drawn.
    """

    num_timesteps: int
    losses: list[Tensor] = field(default_factory=list)
    simple: list[Tensor] = field(default_factory=list)
    times: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    workers: int = 1  # the means are over this worker's share, images/s over all

    def add(self, batch: Batch, losses: Losses) -> None:
        """Take in the losses of a batch, each (B,)."""
        self.times.append(batch.t)
        self.weights.append(batch.weight)
        self.losses.append(losses.total)
        self.simple.append(losses.simple)

    def scalars(self) -> dict[str, float]:
        """Return the means so far, by their names in the log, and start anew."""
        parts = (self.losses, self.simple, self.times, self.weights)
        loss, simple, t, weight = (torch.cat(part).cpu() for part in parts)
        seconds = time.monotonic() - self.started
        scalars = {
            "loss": (loss * weight).mean().item(),
            "loss_simple": (simple * weight).mean().item(),
            "gradient_norm": torch.stack(self.norms).mean().item(),
            "images_per_second": len(loss) * self.workers / seconds,
        }
        quartile = t * QUARTILES // self.num_timesteps
        for q in range(QUARTILES):
            share = weight * (quartile == q)
            if bool(share.any()):
                scalars[f"loss_by_t/quartile_{q + 1}"] = (
                    (simple * share).sum() / share.sum()
                ).item()
        self.losses, self.simple, self.times, self.weights, self.norms = [], [], [], [], []
        self.started = time.monotonic()
        return scalars


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
        torch.manual_seed(config.training.seed)
        self.model = UNet(config.unet)
        initialise(self.model)
        if start is not None:
            _copy_weights(start, self.model)
        self.model.to(self.device)
        if config.training.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = EMA(self.model, config.training.ema_decay)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self.step = 0
        network: nn.Module = self.model
        if config.training.compile and self.device.type == "cuda":
            network = cast(nn.Module, torch.compile(self.model))
        self._network = worker.share(network)
        self._objective = Objective(config, self.process, self.model, self._network)
        self._meter = Meter(self.process.num_timesteps, workers=worker.count)
        with worker.first_goes_first():
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
            while self.step < last:
                self.train_step()
                bar.update()
                if self.step % training.log_every == 0:
                    self._log(bar, writer)
                if not first:
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
        # 5: the gradient, summed over the parts of the batch
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
        self.batches.prepare(self.step + 1)  # while a GPU is still at work on this one
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        if not bool(torch.isfinite(norm)):
            raise TrainingError(
                f"step {self.step}: the loss or its gradient is not finite (norm {norm.item()}); "
                f"lower the learning rate and resume from the last state in {self.folder}"
            )
        self._meter.norms.append(norm.detach())
        # 5: the gradient descent step, and what follows the weights
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, self.step)
        self.optimizer.step()
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
        with atomic_folder(self.folder / "states" / f"step-{self.step:08d}") as folder:
            tensors = {
                "model": dict(self.model.state_dict()),
                "ema": dict(self.ema.model.state_dict()),
                "optimizer": _flatten(self.optimizer.state_dict()["state"]),
                "timesteps": self.batches.times.state(),
            }
            for name, state in tensors.items():
                whole = {key: tensor.contiguous() for key, tensor in state.items()}
                save_file(whole, folder / f"{name}.safetensors")
            classes = list(self.batches.data.classes)
            meta = {
                "step": self.step,
                "config": to_dict(self.config),
                "classes": classes,
                "torch": str(torch.__version__),
                "machine": self._machine(),
            }
            (folder / "state.json").write_text(json.dumps(meta, indent=2))
        for old in saved_states(self.folder)[:-KEEP_STATES]:
            shutil.rmtree(old)

    def _machine(self) -> str:
        """What trains this run, for the model card of what is exported from it."""
        alone = self.worker.count == 1
        workers = "" if alone else f", {self.worker.count} workers"
        return describe_machine(self.device) + workers

    def _resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.worker.is_first:
            for partial in (self.folder / "states").glob(".step-*"):  # of a run killed as it saved
                shutil.rmtree(partial)
        states = saved_states(self.folder)
        if not states:
            return
        meta = json.loads((states[-1] / "state.json").read_text())
        _check_same(meta["config"], json.loads(json.dumps(to_dict(self.config))), self.folder)
        self.model.load_state_dict(load_file(states[-1] / "model.safetensors"))
        self.ema.model.load_state_dict(load_file(states[-1] / "ema.safetensors"))
        self.batches.times.load(load_file(states[-1] / "timesteps.safetensors"))
        self._load_optimizer(load_file(states[-1] / "optimizer.safetensors"))
        self.step = meta["step"]
        log.info("resumed from %s", states[-1])

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.model.parameters())
        state = self.optimizer.state_dict()
        state["state"] = {}
        for key, tensor in tensors.items():
            i, name = key.split(".")
            if tensor.dim():  # fused Adam walks memory: moments need their parameter's layout
                tensor = torch.empty_like(parameters[int(i)]).copy_(tensor)
            state["state"].setdefault(int(i), {})[name] = tensor
        self.optimizer.load_state_dict(state)


def saved_states(folder: Path) -> list[Path]:
    """List the states saved in a run's folder, oldest first."""
    return sorted((folder / "states").glob("step-*"))


def _copy_weights(start: UNet, model: UNet) -> None:
    """Copy all weights; those of v stay the model's own where `start` learned no variance.

    Raises TrainingError where the networks differ in anything else.
    """
    weights, own = start.state_dict(), model.state_dict()
    if own["conv_out.weight"].shape[0] == 2 * weights["conv_out.weight"].shape[0]:
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


def _flatten(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{i}.{name}": tensor for i, entry in state.items() for name, tensor in entry.items()}


def _check_same(saved: dict[str, Any], now: dict[str, Any], folder: Path, prefix: str = "") -> None:
    for key, value in now.items():
        if isinstance(value, dict):
            _check_same(saved.get(key, {}), value, folder, f"{prefix}{key}.")
        elif key in saved and saved[key] != value:  # a run older than the field lacks it
            raise TrainingError(
                f"{folder} holds a run with {prefix}{key} = {saved[key]!r}, not {value!r}; "
                "give another folder, or the configuration that the run was started with"
            )


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
