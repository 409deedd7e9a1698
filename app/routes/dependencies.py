"""What the routes ask FastAPI for: the server's services, the client, and how long it waits."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated, Self, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from app.door.clients import Client, Clients
from app.door.door import client_of
from app.generation.budget import Budget
from app.generation.errors import InvalidField
from app.generation.pictures import Pictures
from app.generation.schemas.bound import BoundRequest
from app.generation.schemas.encode import EncodeRequest
from app.generation.schemas.requests import SampleRequest
from app.http import prefer
from app.http.metrics import Metrics
from app.http.problems import Problem
from app.jobs.keys import Key, read_key
from app.jobs.service import Jobs
from app.pool.admission import Bounds
from app.pool.errors import UnknownModel
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.registry import Entry
from app.pool.sources import Sources
from app.routes.making import Makings
from app.settings import Settings

LOOK_SECONDS = 0.05
"""How often to look whether the storage of jobs is open."""
BEARER = HTTPBearer(auto_error=False, description="One of the server's API keys, if it has any.")


@dataclass(frozen=True)
class Services:
    """What one server answers requests with; `create_app` makes it once.

    `sources` are what its models may be loaded from. `answers` is what the answers' memory is
    reserved from; `makings` are those that are being made. `pictures` decodes those that clients
    send. `encoders` are the threads that encode answers, off the event loop. `readers` read, check
    and encode the results of jobs, one sample at a time: a store that is slow holds up no other
    answer.
    """

    settings: Settings
    models: Models
    sources: Sources
    pool: EnginePool
    jobs: Jobs
    metrics: Metrics
    clients: Clients
    answers: Budget
    makings: Makings
    pictures: Pictures
    encoders: Executor
    readers: Executor

    @classmethod
    def of(cls, request: Request) -> Self:
        """The services of the request's app. Other dependencies call this instead of depending on
        `get_services`: each dependency costs every request a little."""
        return cast(Self, request.app.state.services)

    async def until_ready(self) -> None:
        """Return when each model has been loaded once, and it is known whether jobs can be
        stored."""
        await self.models.has_been_ready.wait()
        while self.jobs.is_opening:
            await asyncio.sleep(LOOK_SECONDS)


async def get_services(request: Request) -> Services:
    """The server's services. A coroutine, because FastAPI runs plain functions in a thread."""
    return Services.of(request)


ServicesDep = Annotated[Services, Depends(get_services)]


async def get_client(request: Request, _: Annotated[object, Depends(BEARER)]) -> Client:
    """The client that the door has let in. BEARER is here for the OpenAPI document."""
    return client_of(request.scope["state"])


ClientDep = Annotated[Client, Depends(get_client)]


def model_of(body: SampleRequest | EncodeRequest | BoundRequest, services: Services) -> Entry:
    """The model that a request asks for. Raises InvalidField."""
    try:
        return services.models.find(body.model)
    except UnknownModel as error:
        raise InvalidField("model", error.name, error.reason) from None


def bounds_of(client: Client) -> Bounds:
    """What the queue holds of this client, at most."""
    return Bounds(client.limits.max_client_samples, client.limits.max_client_steps)


def preferences(request: Request) -> prefer.Preferences:
    """What the request's Prefer headers say."""
    return prefer.parse(request.headers.getlist("prefer"))


async def get_wait_seconds(request: Request) -> float:
    """Seconds that the client waits for its answer, at most the server's limit."""
    return preferences(request).wait_seconds(Services.of(request).settings.max_wait_seconds)


WaitDep = Annotated[float, Depends(get_wait_seconds)]


def refuse_webhook(request: Request) -> None:
    """Raise Problem 422 if a request that makes no job has an X-Webhook-URL."""
    if "x-webhook-url" in request.headers:
        detail = (
            "X-Webhook-URL: only a job has a webhook; /sample and /denoise-trajectory make one "
            "with Prefer: respond-async"
        )
        raise Problem(422, detail)


def idempotency_key(
    request: Request, body: SampleRequest, client: str, *, is_job: bool = False
) -> Key | None:
    """The request's Idempotency-Key; `is_job`: it is answered with a job. Raises BadKey."""
    header = request.headers.get("idempotency-key")
    # Without a proxy's prefix, which may be another one after a restart.
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    # A field that is newer than keys which are kept must not change the fingerprint of a request
    # without it.
    newer = {"spacing"} if body.spacing == "even" else set()
    names = ("guidance_interval", "model", "start", "mask")
    newer |= {name for name in names if getattr(body, name) is None}
    newer |= {"resamplings", "jump"} if body.mask is None else set()
    body_json = body.model_dump_json(exclude=newer)
    return read_key(header, client, path, body_json, is_job=is_job)
