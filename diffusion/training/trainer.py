"""Algorithm 1: training with L_simple (eq. 14) or another objective, resumable to the bit.

All randomness of a run is a function of (seed, step): the images, t and eps of a step, which labels
are dropped and which units (and of the losses so far, where t is drawn by importance). So a resumed
run needs no generator's state, and gives the same weights as one that was never stopped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.config import Config
from diffusion.data.images import Images
from diffusion.devices import describe_machine
from diffusion.fields import to_dict
from diffusion.networks.network import Network
from diffusion.process import Process
from diffusion.training import snapshots, states
from diffusion.training.batches import Batch, Batches
from diffusion.training.checks import check_data, check_shares, copy_weights
from diffusion.training.distributed import Worker, averaging
from diffusion.training.ema import EMA, exponential, power_function
from diffusion.training.errors import TrainingError
from diffusion.training.losses import Losses, Objective
from diffusion.training.meter import Meter, Pace
from diffusion.training.randomness import Stream, generator_at
from diffusion.training.run_log import Writer, append, cut_back
from diffusion.training.same_run import check_same_run, check_same_start, fingerprint
from diffusion.training.schedule import learning_rate
from diffusion.training.states import State, Tensors
from diffusion.training.stopping import Stop
from diffusion.training.terminal import progress_bar, tell
from diffusion.unet import UNet, initialise

OnSample = Callable[["Trainer", Writer | None], None]
ALONE = Worker()


class Trainer:
    """A training run in a folder of its own, which holds log.jsonl and states/step-….

    A new run starts at step 0, from random weights or those of `start`, whose `history` (`sha256`,
    and what else a model card is to say) its states keep. Where the folder holds a state, the run
    continues from there. Raises TrainingError when that state is damaged, or of another
    configuration or start, `start` of another network, or the data do not fit the network.
    """

    def __init__(
        self,
        config: Config,
        data: Images,
        folder: Path,
        device: torch.device | str = "cpu",
        worker: Worker = ALONE,
        start: Network | None = None,
        history: dict[str, Any] | None = None,
    ) -> None:
        check_data(config, data)
        check_shares(config.training, worker.count)
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
        self.worker = worker
        self.history = history
        self.process = Process.from_config(config.process)
        self.batches = Batches(data, config, self.process)
        # The network, its first weights a function of the seed
        torch.manual_seed(config.training.seed)
        self.model = UNet(config.unet)
        initialise(self.model)
        if start is not None:
            copy_weights(start, self.model)
        self.model.to(self.device)
        if config.training.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What follows the weights, and what moves them (Adam and an EMA of 0.9999, appendix B)
        self.ema = EMA(self.model, exponential(config.training.ema_decay))
        kept = snapshots.SIGMA_RELS if config.training.snapshot_every else ()
        self.averages = {each: EMA(self.model, power_function(each)) for each in kept}
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
        self._resume()

    @property
    def is_done(self) -> bool:
        """Whether the run has taken its last step."""
        return self.step == self.config.training.num_steps

    @property
    def images_at_once(self) -> int:
        """How many images this worker runs the network on at once: its part of a batch."""
        training = self.config.training
        return training.batch_size // (training.accumulate * self.worker.count)

    def run(
        self,
        writer: Writer | None = None,
        on_sample: OnSample | None = None,
        until: int | None = None,
        stop: Stop | None = None,
    ) -> int:
        """Train up to `num_steps`, only up to the step `until`, or until a `stop` is asked for.

        On the way states are saved, scalars logged, and `on_sample` called, as often as
        `config.training` says. Returns the number of the signal that stopped the run, 0 for none;
        it is the same for all workers. Raises TrainingError as `train_step` and `save` do.
        """
        training, first = self.config.training, self.worker.is_first
        last = min(training.num_steps, until or training.num_steps)
        signal = 0
        if first:
            self._prepare_folder()
        bar = progress_bar(training.num_steps, "training", initial=self.step, shown=first)
        with bar:
            pace = Pace(self.step)
            while self.step < last and not signal:  # Algorithm 1, lines 1 and 6: repeat … until …
                self.train_step()
                bar.update()
                signal = self.worker.largest(stop.number if stop else 0)
                if self.step % training.log_every == 0:
                    self._log(bar, writer)
                if first:  # the others only train
                    if pace.note(self.step):
                        tell(bar, pace.left(last - self.step))
                    is_last = self.step == last or bool(signal)
                    self._write_when_due(writer, None if signal else on_sample, is_last=is_last)
        return signal

    def _write_when_due(
        self, writer: Writer | None, on_sample: OnSample | None, *, is_last: bool
    ) -> None:
        """Write a snapshot, save the state and draw samples, where the step that the run has
        reached asks for it."""
        draws = on_sample is not None and self.is_time_for_samples
        with self._meter.paused():
            if snapshots.num_due(self.config.training, self.step, self.step):
                snapshots.write(self.folder, self.step, self._averages())  # before a state of it
            if draws or is_last or self.step % self.config.training.save_every == 0:
                self.save()
            if on_sample and draws:  # what may fail comes last
                on_sample(self, writer)

    def _prepare_folder(self) -> None:
        """Make the folder agree with the state that the run goes on from.

        Raises TrainingError where it cannot be changed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            states.remove_unfinished(self.folder)
            cut_back(self.folder, self.step)
            snapshots.cut_back(self.folder, self.step)
            for saved in states.saved_states(self.folder)[-1:]:
                states.set_num_steps(saved, self.config.training.num_steps)
        except OSError as error:
            raise TrainingError(f"out: {self.folder} cannot be changed: {error}") from error

    @property
    def is_time_for_samples(self) -> bool:
        """Whether samples are to be drawn after the step that the run has reached."""
        training = self.config.training
        is_time = self.is_done or self.step % max(training.sample_every, 1) == 0
        return training.sample_every > 0 and is_time

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
            raise self._not_finite(norm.item())
        self._meter.norms.append(norm.detach())
        # 5: the gradient descent step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, self.step)
        self.optimizer.step()
        # What follows the weights: which t matter, and their moving averages
        if training.timesteps == "importance":
            totals = self.worker.gather(torch.cat(own)).cpu()
            self.batches.times.note(batch.t, totals)
        for ema in (self.ema, *self.averages.values()):
            ema.update(self.model, self.step)
        self.step += 1

    def _not_finite(self, norm: float) -> TrainingError:
        advice = "try a lower learning_rate in a new run"
        if states.saved_states(self.folder):
            advice += (
                ", from the start or from this run's weights: "
                f"`ddpm export {self.folder} CHECKPOINT`, and --start CHECKPOINT"
            )
        return TrainingError(
            f"step {self.step}: the loss or its gradient is not finite (norm {norm}); {advice}"
        )

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
        shown = {"loss": f"{scalars['loss']:.4f}", "img_s": f"{scalars['images_per_second']:.0f}"}
        bar.set_postfix(shown, refresh=False)
        append(self.folder, writer, self.step, scalars)

    def save(self) -> None:
        """Write the whole state, or nothing; all states but the last KEEP_STATES are removed.

        Raises TrainingError where it cannot be written.
        """
        states.write(
            self.folder,
            State(
                step=self.step,
                model=dict(self.model.state_dict()),
                ema=dict(self.ema.model.state_dict()),
                optimizer=states.optimizer_tensors(self.optimizer),
                timesteps=self.batches.times.state(),
                averages=self._averages(),
                facts={
                    "config": to_dict(self.config),
                    "classes": list(self.batches.data.classes),
                    "images": len(self.batches.data),
                    "fingerprint": fingerprint(self.batches.data),
                    "start": self.history,
                    "torch": str(torch.__version__),
                    "machine": self._machine(),
                },
            ),
        )

    def _averages(self) -> Tensors:
        """The averages that snapshots are of; writing to these tensors changes them."""
        return {
            f"{sigma_rel}.{name}": tensor
            for sigma_rel, ema in self.averages.items()
            for name, tensor in ema.model.state_dict().items()
        }

    def _machine(self) -> str:
        """What trains this run, for the model card of what is exported from it."""
        alone = self.worker.count == 1
        workers = "" if alone else f", {self.worker.count} workers"
        return describe_machine(self.device) + workers

    def _resume(self) -> None:
        """Continue from the last state of the folder, if there is one."""
        saved = states.saved_states(self.folder)
        if not saved:
            return
        state = states.read(saved[-1])
        check_same_run(self.folder, state.facts, self.config, self.batches.data)
        check_same_start(self.folder, state.facts, self.history)
        own = {name: tensor.shape for name, tensor in self.model.state_dict().items()}
        with states.damage_told(saved[-1]):
            for name in ("model", "ema"):
                states.check_shapes(f"{name}.safetensors", getattr(state, name), own)
            self.model.load_state_dict(state.model)
            self.ema.model.load_state_dict(state.ema)
            times = {name: tensor.shape for name, tensor in self.batches.times.state().items()}
            states.check_shapes("timesteps.safetensors", state.timesteps, times)
            self.batches.times.load(state.timesteps)
            averages = self._averages()
            shapes = {name: tensor.shape for name, tensor in averages.items()}
            states.check_shapes("averages.safetensors", state.averages, shapes)
            for name, tensor in averages.items():
                tensor.copy_(state.averages[name])
            parameters = list(self.model.parameters())
            if state.step and not state.optimizer:
                raise ValueError("optimizer.safetensors: it holds no tensors")
            states.load_optimizer(self.optimizer, parameters, state.optimizer)
        self.step = state.step
        self.history = state.facts.get("start", self.history)
