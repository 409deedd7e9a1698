"""An engine without a network: it speaks the messages of app/wire with numpy alone, and is ready
at once. `python -m tests.fake_engine STEP_SECONDS SOCKET BLACK_BOX OPTIONS`.

Images depend on what a request asks for and on nothing else, as a real engine's do. A step takes
STEP_SECONDS, whatever is in it; jobs take turns.
"""

import hashlib
import json
import logging
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
    Message,
    ModelInfo,
    Pause,
    Ready,
    Submit,
)
from app.wire.options import Options
from diffusion.sources.find import find_checkpoint

COUNT_SECONDS = 1.0
log = logging.getLogger("ddpm.engine")


class Chain:
    """One sample on its way from x_T to x_0."""

    def __init__(self, submit: Submit, place: int, shape: tuple[int, int, int]) -> None:
        self.submit = submit
        self.index = submit.indices[place]
        self.position = 0
        self._shape = shape
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
        asked = self.submit
        noise = normal(self._shape, asked.seed, self.index)
        image = normal(
            self._shape, asked.seed, self.index, self._label, asked.sampler, asked.steps, asked.eta,
            asked.variance, asked.guidance,
        ).clip(-1, 1)  # fmt: skip
        done = np.float32(self.position / asked.steps)
        return (done * image + (1 - done) * noise).tobytes(), (image * (1 + done) / 2).tobytes()


def normal(shape: tuple[int, int, int], *key: object) -> np.ndarray:
    """N(0, 1) as float32, a function of the key."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


class Job:
    """What was submitted, and its chains that are not finished."""

    def __init__(self, submit: Submit, shape: tuple[int, int, int]) -> None:
        self.submit = submit
        self.chains = [Chain(submit, place, shape) for place in range(len(submit.indices))]
        self.is_paused = False
        self.came = time.monotonic()
        self.started: float | None = None


class FakeEngine:
    """Takes one step at a time, and listens before each."""

    def __init__(
        self,
        channel: SocketChannel,
        recorder: FlightRecorder,
        model: ModelInfo,
        step_seconds: float,
    ) -> None:
        self.channel = channel
        self.recorder = recorder
        self.shape = model.image_shape
        self.batch_sizes = model.batch_sizes
        self.step_seconds = step_seconds
        self.jobs: dict[str, Job] = {}
        self.counts: dict[int, Counts] = {}
        self.told = time.monotonic()
        self.steps = 0

    def serve(self) -> None:
        """Until the API process is gone. Raises Disconnected."""
        while True:
            batch = self.batch()
            if not batch or time.monotonic() - self.told > COUNT_SECONDS:
                self.tell_counts()
            for message in self.channel.receive(wait=not batch):
                self.handle(message)
            if batch := self.batch():
                self.step(batch)

    def handle(self, message: Message) -> None:
        match message:
            case Submit():
                self.jobs[message.id] = Job(message, self.shape)
            case Cancel(job_id):
                self.jobs.pop(job_id, None)
            case Pause(job_id, paused) if job_id in self.jobs:
                self.jobs[job_id].is_paused = paused
                log.info("a job is paused" if paused else "a job goes on")

    def batch(self) -> list[Chain]:
        """The next chains, as many as there are rows for."""
        chains: list[Chain] = []
        rows = 0
        for job in self.jobs.values():
            for chain in [] if job.is_paused else job.chains:
                rows += chain.rows
                if rows > self.batch_sizes[-1]:
                    return chains
                chains.append(chain)
        return chains

    def step(self, batch: list[Chain]) -> None:
        """Advance every chain of the batch, and tell what came of it."""
        self.steps += 1
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
        self.count(rows, time.monotonic() - started)

    def advance(self, job: Job, chain: Chain) -> Iterator[Message]:
        """One step of one chain: the state it was in where that is shown, and x_0 at the end."""
        asked = chain.submit
        if chain.position in asked.shown:
            yield Frame(asked.id, chain.index, chain.position, *chain.state())
        chain.position += 1
        if chain.is_over:
            x_0, _ = chain.state()
            yield Finished(asked.id, chain.index, x_0)
            job.chains.remove(chain)

    def count(self, rows: int, seconds: float) -> None:
        size = next(size for size in self.batch_sizes if size >= rows)
        self.counts[size] = Counts(size, 1, rows, seconds) + self.counts.get(
            size, Counts(size, 0, 0, 0.0)
        )

    def tell_counts(self) -> None:
        self.channel.send(*self.counts.values())
        self.counts.clear()
        self.told = time.monotonic()


def describe(options: Options, step_seconds: float) -> ModelInfo:
    """What a real engine says of the checkpoint, from its JSON files."""
    location = find_checkpoint(options.checkpoint)
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
    while 2 * sizes[-1] <= (options.max_batch or 16):
        sizes.append(2 * sizes[-1])
    return ModelInfo(
        name=card["name"] or folder.resolve().name,
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
    )


def main() -> None:
    """Run until the API process goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    step_seconds = float(sys.argv.pop(1))
    fd, recorder_fd, options = Options.parse()
    logs.configure(options.log_format, options.log_level)
    channel = SocketChannel(socket.socket(fileno=fd))
    model = describe(options, step_seconds)
    try:
        channel.send(Ready(model))
        FakeEngine(channel, FlightRecorder(recorder_fd), model, step_seconds).serve()
    except Disconnected:
        return


if __name__ == "__main__":
    main()
