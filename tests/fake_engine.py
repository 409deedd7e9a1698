"""An engine without a network: it speaks the messages of app/wire with numpy alone.
`python -m tests.fake_engine STEP_SECONDS[:LOAD_SECONDS] SOCKET BLACK_BOX OPTIONS`.

Images depend on the weights and on what a request asks for, and on nothing else, as a real engine's
do. A step takes STEP_SECONDS, whatever is in it; jobs take turns, and so do models. A model is
loaded in LOAD_SECONDS, 0 by default, beside the steps of the others; one whose card says
`{"data": "crash"}` kills the process then, and with `{"data": "each a machine"}` each process says
that it runs on a kind of machine of its own.
"""

import hashlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import numpy as np

from app import logs
from app.wire.channel import Disconnected, SocketChannel
from app.wire.flight_recorder import FlightRecorder, Place
from app.wire.messages import (
    Cancel,
    Counts,
    Done,
    Finished,
    Frame,
    Load,
    Loaded,
    Measured,
    Message,
    Pause,
    Starting,
    Submit,
    Unload,
    Unloaded,
    Unusable,
)
from app.wire.model_info import ModelInfo
from app.wire.options import Options
from diffusion.sources.errors import CheckpointError
from diffusion.sources.find import find_checkpoint

COUNT_SECONDS = 1.0
LOOK_SECONDS = 0.005
"""How often to listen while there is nothing to do but to load a model."""
log = logging.getLogger("ddpm.engine")


class Chain:
    """One sample on its way from x_T to x_0."""

    def __init__(self, submit: Submit, place: int, model: ModelInfo) -> None:
        self.submit = submit
        self.index = submit.indices[place]
        self.position = 0
        self._model = model
        self._label = None if submit.labels is None else submit.labels[place]

    @property
    def is_over(self) -> bool:
        return self.position == self.submit.steps

    @property
    def rows(self) -> int:
        """Network rows that its next step would take."""
        return 1 + (self.position in self.submit.guided_steps)

    def state(self) -> tuple[bytes, bytes]:
        """x_t and x_0_hat: noise of the seed and the index, which turns into an image of whatever
        else is asked for."""
        asked, shape = self.submit, self._model.image_shape
        noise = normal(shape, asked.seed, self.index)
        image = normal(
            shape, self._model.sha256, asked.seed, self.index, self._label, asked.sampler,
            asked.steps, asked.eta, asked.variance, asked.guidance,
        ).clip(-1, 1)  # fmt: skip
        done = np.float32(self.position / asked.steps)
        return (done * image + (1 - done) * noise).tobytes(), (image * (1 + done) / 2).tobytes()

    def term(self) -> Measured:
        """A term of the bound: t at even distances, and of nats a number of what is asked for."""
        bound, T = self.submit.bound, self._model.num_timesteps
        assert bound is not None
        part = (T - 1) / max(1, bound.count - 1)
        k = self.index % bound.count
        t = bound.timesteps[k] if bound.timesteps else 1 + round(k * part)
        (nats,) = normal((1, 1, 1), self.submit.seed, self.index, self._label).ravel().tolist()
        weight = part if k and not bound.timesteps else 1.0
        x_t, x_0_hat = self.state()
        return Measured(self.submit.id, self.index, t, abs(nats), weight, 1e-3, x_t, x_0_hat)


def normal(shape: tuple[int, int, int], *key: object) -> np.ndarray:
    """N(0, 1) as float32, a function of the key."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


class Job:
    """What was submitted, and its chains that are not finished."""

    def __init__(self, submit: Submit, model: ModelInfo) -> None:
        self.submit = submit
        self.batch_sizes = model.batch_sizes
        self.chains = [Chain(submit, place, model) for place in range(len(submit.indices))]
        self.is_paused = False
        self.came = time.monotonic()
        self.started: float | None = None


class FakeEngine:
    """Takes one step at a time, and listens before each."""

    def __init__(
        self,
        channel: SocketChannel,
        recorder: FlightRecorder,
        step_seconds: float,
        load_seconds: float,
    ) -> None:
        self.channel = channel
        self.recorder = recorder
        self.models: dict[str, ModelInfo] = {}
        self.loading: list[tuple[float, Load]] = []  # and when each is loaded, the first first
        self.step_seconds = step_seconds
        self.load_seconds = load_seconds
        self.jobs: dict[str, Job] = {}
        self.counts: dict[tuple[str, int], Counts] = {}
        self.told = time.monotonic()
        self.steps = 0

    def serve(self) -> None:
        """Until the API process is gone. Raises Disconnected."""
        while True:
            batch = self.batch()
            if not batch or time.monotonic() - self.told > COUNT_SECONDS:
                self.tell_counts()
            for message in self.channel.receive(wait=not (batch or self.loading)):
                self.handle(message)
            self.load()
            if self.loading and not batch:
                time.sleep(LOOK_SECONDS)
            if batch := self.batch():
                self.step(batch)

    def handle(self, message: Message) -> None:
        match message:
            case Load(model):
                due = time.monotonic() + self.load_seconds
                self.loading.append((due, message))
                self.channel.send(Starting(model, "pretending to load"))
            case Unload(model):
                del self.models[model]
                self.channel.send(Unloaded(model))
            case Submit():
                self.jobs[message.id] = Job(message, self.models[message.model])
            case Cancel(job_id):
                self.jobs.pop(job_id, None)
            case Pause(job_id, paused) if job_id in self.jobs:
                self.jobs[job_id].is_paused = paused
                log.info("a job is paused" if paused else "a job goes on")

    def load(self) -> None:
        """Have the models whose time has come."""
        while self.loading and self.loading[0][0] <= time.monotonic():
            _, load = self.loading.pop(0)
            try:
                info, size = describe(load, self.step_seconds)
            except (OSError, CheckpointError) as error:
                self.channel.send(Unusable(load.model, str(error)))
                continue
            if load.sha256 not in (None, info.sha256):
                reason = "the checkpoint's weights have changed on disk"
                self.channel.send(Unusable(load.model, reason, has_changed=True))
                continue
            if info.data == "crash":
                os.abort()
            self.models[load.model] = info
            self.channel.send(Loaded(load.model, info, self.load_seconds, size))

    def batch(self) -> list[Chain]:
        """The next chains, all of the first job's model, as many as there are rows for."""
        chains: list[Chain] = []
        rows, model = 0, ""
        for job in self.jobs.values():
            for chain in [] if job.is_paused else job.chains:
                model = model or job.submit.model
                if job.submit.model != model:
                    break
                rows += chain.rows
                if rows > job.batch_sizes[-1]:
                    return chains
                chains.append(chain)
        return chains

    def step(self, batch: list[Chain]) -> None:
        """Advance every chain of the batch, and tell what came of it."""
        self.steps += 1
        model = batch[0].submit.model
        rows = sum(chain.rows for chain in batch)
        first: dict[str, Place] = {}
        for chain in batch:
            job_id = chain.submit.id
            first.setdefault(job_id, Place(job_id, chain.index, chain.position))
        self.recorder.write(self.steps, list(first.values()))
        started = time.monotonic()
        time.sleep(self.step_seconds)
        events: list[Message] = []
        for chain in batch:
            job = self.jobs[chain.submit.id]
            job.started = job.started or started
            events += self.advance(job, chain)
        for job in [self.jobs.pop(job_id) for job_id in first]:
            if job.chains:
                self.jobs[job.submit.id] = job  # behind the others
            else:
                begun = job.started or started
                events.append(Done(job.submit.id, begun - job.came, time.monotonic() - begun))
        self.channel.send(*events)
        self.count(model, rows, time.monotonic() - started)

    def advance(self, job: Job, chain: Chain) -> Iterator[Message]:
        """One step of one chain: the state it was in where that is shown, and x_0 at the end."""
        asked = chain.submit
        if chain.position in asked.shown and asked.bound is None:
            yield Frame(asked.id, chain.index, chain.position, *chain.state())
        chain.position += 1
        if chain.is_over:
            x_0, _ = chain.state()
            yield Finished(asked.id, chain.index, x_0) if asked.bound is None else chain.term()
            job.chains.remove(chain)

    def count(self, model: str, rows: int, seconds: float) -> None:
        size = next(size for size in self.models[model].batch_sizes if size >= rows)
        before = self.counts.get((model, size), Counts(model, size, 0, 0, 0.0))
        self.counts[model, size] = Counts(model, size, 1, rows, seconds) + before

    def tell_counts(self) -> None:
        self.channel.send(*self.counts.values())
        self.counts.clear()
        self.told = time.monotonic()


def describe(load: Load, step_seconds: float) -> tuple[ModelInfo, int]:
    """What a real engine says of the checkpoint, from its JSON files, and the bytes of its weights.

    Raises OSError or CheckpointError."""
    location = find_checkpoint(load.checkpoint)
    folder = location.folder
    unet = json.loads((folder / "unet/config.json").read_text())
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    card = json.loads((folder / "model_card.json").read_text())
    weights = (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    T, size = scheduler["num_train_timesteps"], unet["sample_size"]
    rows, null_label = unet["num_class_embeds"] or 0, card["null_label"]
    names = card["classes"] or [str(k) for k in range(rows - (null_label is not None))]
    betas = np.linspace(scheduler["beta_start"], scheduler["beta_end"], T)
    alpha_bar = [1.0, *np.cumprod(1 - betas).tolist()]
    sizes = [4]
    while 2 * sizes[-1] <= (load.max_batch or 16):
        sizes.append(2 * sizes[-1])
    info = ModelInfo(
        name=load.name,
        image_shape=(unet["in_channels"], *((size, size) if isinstance(size, int) else size)),
        num_timesteps=T,
        min_timestep=0,
        schedule="linear",
        alpha_bar_T=alpha_bar[-1],
        alpha_bar=tuple(alpha_bar),
        variance=scheduler["variance_type"],
        clip=scheduler["clip_sample_range"] if scheduler["clip_sample"] else None,
        classes=tuple(names),
        null_label=null_label,
        sha256=hashlib.sha256(weights).hexdigest(),
        fingerprint=hashlib.sha256(json.dumps([unet, scheduler]).encode()).hexdigest(),
        source=location.origin,
        revision=location.revision,
        data=card["data"],
        command=card["command"],
        trained=card["trained"],
        quality=card["quality"],
        recommended=card.get("recommended", {}),
        tuned=card.get("tuned", {}),
        parameters=len(weights) // 4,
        runtime="eager",
        precision="float32",
        precision_reason="float32 was asked for",
        device="cpu",
        batch_sizes=tuple(sizes),
        step_seconds={str(size): step_seconds for size in sizes},
        batch_invariant=True,
        seconds_per_row=step_seconds / sizes[-1],
        machine=str(os.getpid()) if card["data"] == "each a machine" else "",
    )
    return info, len(weights)


def main() -> None:
    """Run until the API process goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    step_seconds, _, load_seconds = sys.argv.pop(1).partition(":")
    fd, recorder_fd, options = Options.parse()
    logs.configure(options.log_format, options.log_level)
    channel = SocketChannel(socket.socket(fileno=fd))
    recorder = FlightRecorder(recorder_fd)
    engine = FakeEngine(channel, recorder, float(step_seconds), float(load_seconds or 0))
    try:
        engine.serve()
    except Disconnected:
        return


if __name__ == "__main__":
    main()
