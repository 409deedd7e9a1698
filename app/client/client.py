"""The client whose calls wait: each method performs one flow."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self, TypeVar

import httpx

from app.client import flows, job_flows, model_flows
from app.client.arguments import TIMEOUT_SECONDS, headers, job_id, seconds, server_url
from app.client.bound import BoundRequest, Bounds, bound
from app.client.effects import Flow
from app.client.patience import Patience
from app.client.perform import perform
from app.client.progress import job_bar, partial_file, transfer_bar
from app.client.requests import ONE, ONE_TRAJECTORY, EncodeRequest, SampleRequest, TrajectoryRequest
from app.client.results import Encoding, Frame, Samples, Trajectories
from app.client.status import Job, Model, ServedModel

T = TypeVar("T")


class Client:
    """Asks a server, over connections that stay open until `close` or the end of a `with` block.

    `timeout`, in seconds, is how long a call may take in all. That includes further tries, when the
    server is full (429, 503 with Retry-After) or the connection breaks. In streams, jobs and
    downloads it is the longest time without anything new. Every method raises a ClientError: the
    class of the problem's status, Unreachable, TimedOut or BrokenAnswer. Threads may share a
    client.

    `url` is the address of the page; a path is that below which a proxy has put the server.
    `api_key` is sent with every request. `transport` replaces the network, for tests and proxies.
    Raises ValueError for an argument that cannot be right, as all methods do. After
    `close` they raise RuntimeError.

    Ctrl-C, or interrupting a notebook's cell, ends the call. What `sample`, `trajectory` or
    `stream` asked for is cancelled on the server with it; a job goes on.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout = seconds(timeout)
        self._http = httpx.Client(
            base_url=server_url(url), headers=headers(api_key), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def model(self, name: str | None = None) -> Model:
        """Return what the server says of a model, and its limits; None: of its first model.

        Raises NotFound where it has no model of this name.
        """
        return self._one(model_flows.model(name, self._patience))

    def models(self) -> tuple[ServedModel, ...]:
        """Return all models of the server; the first is the one that requests get by default."""
        return self._one(model_flows.models(self._patience))

    def load_model(self, name: str, checkpoint: str | None = None) -> ServedModel:
        """Have the server load a model, or a new version of one, in the background.

        `checkpoint` is one that the server may load; None: what the model was loaded from last. A
        new version serves once it is warm. Raises Forbidden without an administrator's API key,
        InvalidRequest for a checkpoint that the server may not load.
        """
        return self._one(model_flows.load(name, checkpoint, self._patience))

    def unload_model(self, name: str) -> ServedModel:
        """Have the server give back a model's memory; the next request for it loads it again.

        Raises Forbidden without an administrator's API key, NotFound for another name.
        """
        return self._one(model_flows.unload(name, self._patience))

    def sample(self, request: SampleRequest = ONE) -> Samples:
        """Return images, when all of them are finished."""
        return self._one(flows.sample(request, self._patience))

    def trajectory(self, request: TrajectoryRequest = ONE_TRAJECTORY) -> Trajectories:
        """Return images and states on their way from noise, when all of them are finished."""
        return self._one(flows.trajectory(request, self._patience))

    def encode(self, request: EncodeRequest) -> Encoding:
        """Return the x_t from which DDIM makes the request's pictures again: `Start.x_t` takes
        it."""
        return self._one(flows.encode(request, self._patience))

    def bound(self, request: BoundRequest) -> Bounds:
        """Return how many bits the model needs for the request's pictures, term by term."""
        return self._one(bound(request, self._patience))

    def stream(self, request: TrajectoryRequest = ONE_TRAJECTORY) -> Iterator[Frame]:
        """Yield each frame as soon as the server has it. Leaving the loop cancels the rest.

        After a broken connection the stream continues with the frames that are missing.
        """
        return perform(self._http, flows.stream(request, self._patience))

    def submit(
        self,
        request: SampleRequest | TrajectoryRequest,
        *,
        idempotency_key: str | None = None,
        webhook_url: str | None = None,
    ) -> Job:
        """Start a job, kept on the server's disk. The same key and request give the same job."""
        return self._one(job_flows.submit(request, self._patience, idempotency_key, webhook_url))

    def job(self, job: Job | str) -> Job:
        """Return a job's status now."""
        return self._one(job_flows.status(job_id(job), self._patience))

    def watch(self, job: Job | str, *, timeout: float | None = None) -> Iterator[Job]:
        """Yield the job's status whenever it changes, until the job is finished. `timeout` is in
        seconds, above 0, for the whole call.

        Raises JobFailed, JobCancelled, Gone when it expired, and NotFound when it is not there.
        """
        return perform(self._http, job_flows.watch(job_id(job), self._patience_for(timeout)))

    def wait(self, job: Job | str, *, timeout: float | None = None, progress: bool = True) -> Job:
        """Return the finished job; until then, show a progress bar. Raises what `watch` does.

        Ctrl-C ends the waiting, not the job: `cancel` does that.
        """
        states = self.watch(job, timeout=timeout)
        with job_bar(progress) as show:
            for state in states:
                show(state)
        return state

    def result(self, job: Job | str) -> Samples | Trajectories:
        """Return a finished job's result, in memory; its class follows from the job's kind.

        Raises Conflict when the job is not finished.
        """
        return self._one(job_flows.result(job_id(job), self._patience))

    def download(self, job: Job | str, path: str | Path, *, progress: bool = True) -> Path:
        """Save a finished job's result: .zip, .npz, .json, .png, .gif, .webp or .apng, by suffix.

        Until it is complete the file is named PATH.JOB.part; another call continues it. Returns the
        path. Raises ValueError for another suffix.
        """
        target = Path(path)
        media_type = job_flows.media_type_of(target)
        with partial_file(target, job_id(job)) as file, transfer_bar(target.name, progress) as show:
            flow = job_flows.download(job_id(job), file, media_type, self._patience)
            for transfer in perform(self._http, flow):
                show(transfer)
        return target

    def cancel(self, job: Job | str) -> None:
        """Stop a job, and remove it with its result. Raises NotFound when there is no such job."""
        self._one(job_flows.cancel(job_id(job), self._patience))

    @property
    def _patience(self) -> Patience:
        return Patience(self._timeout)

    def _patience_for(self, timeout: float | None) -> Patience:
        return Patience(self._timeout, None if timeout is None else seconds(timeout))

    def _one(self, flow: Flow[T]) -> T:
        with closing(perform(self._http, flow)) as values:
            return next(values)
