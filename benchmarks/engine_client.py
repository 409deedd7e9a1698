"""An engine of ours without a server around it: started, given jobs over its socket, timed.

This is the service without HTTP, PNG and clients: batches, lanes, scheduler and all else of
`app.engine`, in a process of its own.
"""

import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from app.wire.channel import Disconnected, SocketChannel
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import Done, Failed, Finished, Load, Loaded, Message, Submit, Unusable
from app.wire.model_info import ModelInfo
from app.wire.options import AUTO, Options
from diffusion.spacing import SamplerName

STOP_SECONDS = 30.0
KEY = "model"


@dataclass
class Job:
    """What was asked for at `submitted` (time.perf_counter), and what has come of it: images by
    index, as little-endian float32, and when the last one came."""

    submitted: float
    images: dict[int, bytes] = field(default_factory=dict)
    done: float | None = None

    @property
    def seconds(self) -> float:
        """From its submission to its last image; nan where that has not come."""
        return float("nan") if self.done is None else self.done - self.submitted


class EngineClient:
    """`with EngineClient(options, checkpoint) as engine:` an engine with one model, which is warm;
    `engine.model` says what there is to say of it. Raises RuntimeError where the model cannot be
    loaded, and where the engine ends or fails a job."""

    def __init__(self, options: Options, checkpoint: str, max_batch: int = AUTO) -> None:
        self._jobs: dict[str, Job] = {}
        self._recorder = FlightRecorder.create()
        self._socket, theirs = socket.socketpair()
        fds = (theirs.fileno(), self._recorder.fd)
        command = [sys.executable, "-m", "app.engine", *map(str, fds), *options.arguments()]
        self._process = subprocess.Popen(command, pass_fds=fds)
        theirs.close()
        self._channel = SocketChannel(self._socket)
        self._model: ModelInfo | None = None
        try:
            self._channel.send(Load(KEY, checkpoint, KEY, max_batch=max_batch))
            while self._model is None:
                self._hear()
        except BaseException:
            self.close()
            raise
        self.model: ModelInfo = self._model

    def __enter__(self) -> "EngineClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the engine."""
        self._socket.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._recorder.close()

    def submit(
        self, images: int, steps: int, *, sampler: SamplerName = "ddim", client: str = ""
    ) -> Job:
        """Send a job for so many images, and return without waiting."""
        name = f"job {len(self._jobs) + 1}"
        labels = (0,) * images if self.model.classes else None
        indices = tuple(range(images))
        self._channel.send(Submit(name, KEY, 0, indices, labels, sampler, steps, client=client))
        self._jobs[name] = job = Job(time.perf_counter())
        return job

    def wait(self, *jobs: Job) -> None:
        """Return when these jobs are done."""
        while any(job.done is None for job in jobs):
            self._hear()

    def seconds(self, images: int, steps: int, sampler: SamplerName = "ddim") -> float:
        """How long one job takes while there is no other."""
        job = self.submit(images, steps, sampler=sampler)
        self.wait(job)
        return job.seconds

    def _hear(self) -> None:
        """Wait for messages, and note what they say."""
        try:
            for message in self._channel.receive(wait=True):
                self._note(message)
        except Disconnected:
            raise RuntimeError("the engine has ended") from None

    def _note(self, message: Message) -> None:
        match message:
            case Loaded(_, model):
                self._model = model
            case Unusable(_, reason):
                raise RuntimeError(f"the model cannot be loaded: {reason}")
            case Finished(name, index, image):
                self._jobs[name].images[index] = image
            case Done(name):
                self._jobs[name].done = time.perf_counter()
            case Failed(name, reason):
                raise RuntimeError(f"{name} has failed: {reason}")
