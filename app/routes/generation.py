"""POST /sample and POST /denoise-trajectory."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.door.clients import Client
from app.generation import encoding
from app.generation.collect import Result, gather
from app.generation.plan import Plan, plan
from app.generation.schemas import (
    SampleRequest,
    SampleResponse,
    TrajectoryRequest,
    TrajectoryResponse,
)
from app.http import sse, tracing
from app.http.negotiation import accept_header, choose
from app.http.request_log import RequestRecord
from app.http.strict_json import StrictRoute
from app.jobs.tables import Kind
from app.routes import openapi
from app.routes.dependencies import (
    ClientDep,
    Services,
    ServicesDep,
    WaitDep,
    bounds_of,
    idempotency_key,
    preferences,
    refuse_webhook,
)
from app.routes.streams import TrajectoryStream

T = TypeVar("T")
Encoders = dict[str, Callable[[Result], bytes]]

SAMPLE: Encoders = {
    "application/json": encoding.sample_json,
    "image/png": encoding.sample_png,
    "application/zip": encoding.sample_zip,
    "application/x-npz": encoding.sample_npz,
}
TRAJECTORY: Encoders = {
    "application/json": encoding.trajectory_json,
    "image/png": encoding.film_strip,
    "image/gif": encoding.trajectory_gif,
    "image/webp": encoding.trajectory_webp,
    "image/apng": encoding.trajectory_apng,
    "application/x-npz": encoding.trajectory_npz,
}

router = APIRouter(tags=["generation"], route_class=StrictRoute)


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


@router.post(
    "/sample",
    summary="Generate images",
    response_model=SampleResponse,
    responses=openapi.SAMPLE_RESPONSES,
    openapi_extra=openapi.SAMPLE_BODY,
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
    accepted = await accept(request, body, client, services)
    return await answer(request, accepted, client, wait, services, SAMPLE, media_type)


@router.post(
    "/denoise-trajectory",
    summary="Generate images and show the way from noise",
    response_model=TrajectoryResponse,
    responses=openapi.TRAJECTORY_RESPONSES,
    openapi_extra=openapi.TRAJECTORY_BODY,
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
    accepted = await accept(request, body, client, services)
    if media_type == sse.MEDIA_TYPE:
        inflight = services.pool.submit(accepted.submit, wait, bounds_of(client))
        record = RequestRecord.of(request.scope)
        return TrajectoryStream(accepted, inflight, services.encoders, record)
    return await answer(request, accepted, client, wait, services, TRAJECTORY, media_type)


async def accept(request: Request, body: SampleRequest, client: Client, services: Services) -> Plan:
    """Plan the request; with an Idempotency-Key that came before, with the same seed as then.

    Raises InvalidField, AnswerTooLarge, NotReady, what `Jobs.remember` does, and with a key what
    `EnginePool.check_room` does.
    """
    refuse_webhook(request)
    record, model = RequestRecord.of(request.scope), services.pool.model
    request_id, limits, name = record.request_id, client.limits, client.name
    accepted = plan(body, model, limits, client=name, request_id=request_id)
    key = idempotency_key(request, body, name)
    if key is not None:
        services.pool.check_room(
            accepted.submit, bounds_of(client)
        )  # a request that is refused takes no key
        seed = await services.jobs.remember(key, accepted.submit.seed)
        if seed != accepted.submit.seed:
            accepted = plan(body, model, limits, client=name, seed=seed, request_id=request_id)
    job = accepted.submit
    record.describe_job(id=job.id, n=len(job.indices), steps=job.steps, sampler=job.sampler)
    return accepted


async def accept_job(
    request: Request, kind: Kind, body: SampleRequest, client: Client, services: Services
) -> Response:
    """202 with the job's status, once it is on disk.

    Raises Problem 422, NotReady, BadKey, or what `Jobs.submit` does.
    """
    model, limits, name = services.pool.model, client.limits, client.name
    request_id = RequestRecord.of(request.scope).request_id
    accepted = plan(body, model, limits, client=name, request_id=request_id, as_job=True)
    key = idempotency_key(request, body, name)
    webhook_url = request.headers.get("x-webhook-url")
    status = await services.jobs.submit(name, kind, accepted, key, webhook_url, limits)
    location = f"{request.scope['root_path']}/jobs/{status.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async"}
    return JSONResponse(status.model_dump(mode="json"), 202, headers=headers)


async def answer(
    request: Request,
    accepted: Plan,
    client: Client,
    wait: float,
    services: Services,
    representations: Encoders,
    media_type: str,
) -> Response:
    """Run the plan and encode its result. The client's leaving cancels it."""
    try:
        with services.pool.submit(accepted.submit, wait, bounds_of(client)) as inflight:
            result = await unless_gone(request, gather(accepted, inflight))
    except ClientGone:
        return Response(status_code=499)  # nobody reads it
    tracing.record_phases(result.timing["queued_s"], result.timing["compute_s"])
    loop = asyncio.get_running_loop()
    with tracing.tracer.start_as_current_span("encode"):
        content = await loop.run_in_executor(services.encoders, representations[media_type], result)
    headers = {"X-Seed": str(accepted.submit.seed), "Vary": "Accept"}
    return Response(content, media_type=media_type, headers=headers)


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """The result of `work`; when the client disconnects first, cancels it and raises ClientGone."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
