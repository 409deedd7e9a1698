"""POST /sample and POST /denoise-trajectory."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.door.clients import Client
from app.generation import cost
from app.generation.collect import Shown
from app.generation.formats import SAMPLE, TRAJECTORY
from app.generation.plan import plan
from app.generation.schemas.answers import SampleResponse, TrajectoryResponse
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.http import sse
from app.http.negotiation import accept_header, choose
from app.http.request_log import RequestRecord
from app.http.strict_json import StrictRoute
from app.jobs.tables import Kind
from app.pool.engine_jobs import HIGH_WATER
from app.routes import openapi_sample
from app.routes.answers import Asked, accept, answer, begun_of, envelope_of
from app.routes.dependencies import (
    ClientDep,
    Services,
    ServicesDep,
    WaitDep,
    bounds_of,
    idempotency_key,
    model_of,
    preferences,
)
from app.routes.streams import TrajectoryStream, frame_data

COPIES = 4
"""Times that a start's pictures are in memory while a job is written down: as bytes, and as JSON
twice, which takes a third more."""

router = APIRouter(tags=["generation"], route_class=StrictRoute)


@router.post(
    "/sample",
    summary="Generate images",
    response_model=SampleResponse,
    responses=openapi_sample.SAMPLE_RESPONSES,
    openapi_extra=openapi_sample.SAMPLE_BODY,
)
async def sample(
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    wait: WaitDep,
    body: SampleRequest = SampleRequest(),  # noqa: B008 - frozen
) -> Response:
    """n images of one seed. The same request gives the same bytes, whatever else is running. With
    `Prefer: respond-async`, a job."""
    if preferences(request).respond_async:
        return await accept_job(request, "sample", body, client, services)
    media_type = choose(accept_header(request.headers), list(SAMPLE))
    with services.models.using(model_of(body, services).version) as version:
        asked = await Asked.of(request, body, client, services, version)
        return await answer(asked, wait, services, SAMPLE, media_type)


@router.post(
    "/denoise-trajectory",
    summary="Generate images and show the way from noise",
    response_model=TrajectoryResponse,
    responses=openapi_sample.TRAJECTORY_RESPONSES,
    openapi_extra=openapi_sample.TRAJECTORY_BODY,
)
async def denoise_trajectory(
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    wait: WaitDep,
    body: TrajectoryRequest = TrajectoryRequest(),  # noqa: B008 - frozen
) -> Response:
    """x_t and x0_hat(x_t, t) at the frames asked for; live as `text/event-stream`. The last frame
    is what /sample returns for the same fields. With `Prefer: respond-async`, a job."""
    if preferences(request).respond_async:
        kind: Kind = "denoise-trajectory"
        return await accept_job(request, kind, body, client, services)
    media_type = choose(accept_header(request.headers), [*TRAJECTORY, sse.MEDIA_TYPE])
    as_stream = media_type == sse.MEDIA_TYPE
    with services.models.using(model_of(body, services).version) as version:
        asked = await Asked.of(request, body, client, services, version, as_stream=as_stream)
        if as_stream:
            return await stream(asked, wait, services)
        return await answer(asked, wait, services, TRAJECTORY, media_type)


async def accept_job(
    request: Request, kind: Kind, body: SampleRequest, client: Client, services: Services
) -> Response:
    """202 with the job's status, once it is on disk.

    Raises Problem 422, NotReady, BadKey, or what `Jobs.submit` does.
    """
    version, limits, name = model_of(body, services).version, client.limits, client.name
    model = services.models.info(version)
    begun = await begun_of(body, model, client, services, as_job=True)
    size = cost.plan_bytes(body.n) + (0 if begun is None else COPIES * begun.start.size)
    with await services.answers.take(size, name):
        envelope = envelope_of(request, version, client)
        accepted = plan(body, model, limits, envelope, as_job=True, begun=begun)
        key = idempotency_key(request, body, name, is_job=True)
        webhook_url = request.headers.get("x-webhook-url")
        status = await services.jobs.submit(name, kind, accepted, key, webhook_url, limits)
    location = f"{request.scope['root_path']}/jobs/{status.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async"}
    return JSONResponse(status.model_dump(mode="json"), 202, headers=headers)


async def stream(asked: Asked, wait: float, services: Services) -> Response:
    """Run the plan, and send each frame when it is there."""
    with ExitStack() as held:
        version = held.enter_context(services.models.using(asked.version))
        batch = services.settings.max_batch or services.models.info(version).batch_sizes[-1]
        size = cost.stream(asked.planned, HIGH_WATER, batch)
        room = held.enter_context(await services.answers.take(size, asked.client.name))
        accepted = await accept(asked, services, services.pool.check_room)
        # Admitted here, where a refusal still has a status; left with the rest, which cancels it.
        bounds = bounds_of(asked.client)
        inflight = services.pool.submit(accepted.submit, wait, bounds)
        held.enter_context(inflight)

        async def encode(frame: Shown) -> dict[str, Any]:
            return await room.run(services.encoders, frame_data, frame)

        record = RequestRecord.of(asked.request.scope)
        return TrajectoryStream(accepted, inflight, encode, record, held.pop_all().close)
