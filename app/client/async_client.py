"""The client for asyncio: each method performs one flow."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Self, TypeVar

import httpx

from app.client import flows, job_flows, model_flows
from app.client.arguments import TIMEOUT_SECONDS, headers, job_id, seconds, server_url
from app.client.bound import BoundRequest, Bounds, bound
from app.client.effects import Flow
from app.client.patience import Patience
from app.client.perform import perform_async
from app.client.progress import job_bar, partial_file, transfer_bar
from app.client.requests import ONE, ONE_TRAJECTORY, EncodeRequest, SampleRequest, TrajectoryRequest
from app.client.results import Encoding, Frame, Samples, Trajectories
from app.client.status import Job, Model, ServedModel

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: its methods are awaited; `stream` and `watch` are for `async for`.

    It belongs to the event loop in which it is first used. Cancelling a task that awaits it does
    what Ctrl-C does with a Client. Files are written, and pictures decoded, on the event loop, one
    block or answer at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = seconds(timeout)
        self._http = httpx.AsyncClient(
            base_url=server_url(url), headers=headers(api_key), transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def model(self, name: str | None = None) -> Model:
        """Return what the server says of a model: see `Client.model`."""
        return await self._one(model_flows.model(name, self._patience))

    async def models(self) -> tuple[ServedModel, ...]:
        """Return all models of the server; the first is the one that requests get by default."""
        return await self._one(model_flows.models(self._patience))

    async def load_model(self, name: str, checkpoint: str | None = None) -> ServedModel:
        """Have the server load a model: see `Client.load_model`."""
        return await self._one(model_flows.load(name, checkpoint, self._patience))

    async def unload_model(self, name: str) -> ServedModel:
        """Have the server give back a model's memory: see `Client.unload_model`."""
        return await self._one(model_flows.unload(name, self._patience))

    async def sample(self, request: SampleRequest = ONE) -> Samples:
        """Return images, when all of them are finished."""
        return await self._one(flows.sample(request, self._patience))

    async def trajectory(self, request: TrajectoryRequest = ONE_TRAJECTORY) -> Trajectories:
        """Return images and states on their way from noise, when all of them are finished."""
        return await self._one(flows.trajectory(request, self._patience))

    async def encode(self, request: EncodeRequest) -> Encoding:
        """Return the x_t from which DDIM makes the request's pictures again: `Start.x_t` takes
        it."""
        return await self._one(flows.encode(request, self._patience))

    async def bound(self, request: BoundRequest) -> Bounds:
        """Return how many bits the model needs for the request's pictures, term by term."""
        return await self._one(bound(request, self._patience))

    def stream(self, request: TrajectoryRequest = ONE_TRAJECTORY) -> AsyncGenerator[Frame, None]:
        """Yield each frame as soon as the server has it.

        When the loop is left early, the rest is cancelled once the generator is closed;
        `contextlib.aclosing` closes it at once.
        """
        return perform_async(self._http, flows.stream(request, self._patience))

    async def submit(
        self,
        request: SampleRequest | TrajectoryRequest,
        *,
        idempotency_key: str | None = None,
        webhook_url: str | None = None,
    ) -> Job:
        """Start a job, kept on the server's disk. The same key and request give the same job."""
        return await self._one(
            job_flows.submit(request, self._patience, idempotency_key, webhook_url)
        )

    async def job(self, job: Job | str) -> Job:
        """Return a job's status now."""
        return await self._one(job_flows.status(job_id(job), self._patience))

    def watch(self, job: Job | str, *, timeout: float | None = None) -> AsyncGenerator[Job, None]:
        """Yield the job's status whenever it changes: see `Client.watch`."""
        return perform_async(self._http, job_flows.watch(job_id(job), self._patience_for(timeout)))

    async def wait(
        self, job: Job | str, *, timeout: float | None = None, progress: bool = True
    ) -> Job:
        """Return the finished job; until then, show a progress bar. Raises what `watch` does."""
        changes = self.watch(job, timeout=timeout)
        with job_bar(progress) as show:
            async with aclosing(changes) as states:
                async for state in states:
                    show(state)
        return state

    async def result(self, job: Job | str) -> Samples | Trajectories:
        """Return a finished job's result, in memory; its class follows from the job's kind.

        Raises Conflict when the job is not finished.
        """
        return await self._one(job_flows.result(job_id(job), self._patience))

    async def download(self, job: Job | str, path: str | Path, *, progress: bool = True) -> Path:
        """Save a finished job's result as a file: see `Client.download`."""
        target = Path(path)
        media_type = job_flows.media_type_of(target)
        with partial_file(target, job_id(job)) as file, transfer_bar(target.name, progress) as show:
            flow = job_flows.download(job_id(job), file, media_type, self._patience)
            async with aclosing(perform_async(self._http, flow)) as transfers:
                async for transfer in transfers:
                    show(transfer)
        return target

    async def cancel(self, job: Job | str) -> None:
        """Stop a job, and remove it with its result. Raises NotFound when there is no such job."""
        await self._one(job_flows.cancel(job_id(job), self._patience))

    @property
    def _patience(self) -> Patience:
        return Patience(self._timeout)

    def _patience_for(self, timeout: float | None) -> Patience:
        return Patience(self._timeout, None if timeout is None else seconds(timeout))

    async def _one(self, flow: Flow[T]) -> T:
        async with aclosing(perform_async(self._http, flow)) as values:
            return await anext(values)
