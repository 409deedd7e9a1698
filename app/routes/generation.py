"""POST /sample and POST /denoise-trajectory."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.generation import encoding
from app.generation.collect import Result, gather
from app.generation.plan import Plan, for_client, plan, with_seed
from app.generation.schemas import (
    SampleRequest,
    SampleResponse,
    TrajectoryRequest,
    TrajectoryResponse,
)
from app.http import tracing
from app.http.negotiation import accept_header, choose
from app.http.request_log import RequestRecord
from app.http.strict_json import StrictRoute
from app.jobs.tables import Kind
from app.pool.pool import Supervisor
from app.routes import openapi
from app.routes.dependencies import (
    ClientDep,
    Services,
    ServicesDep,
    WaitDep,
    idempotency_key,
    preferences,
    refuse_webhook,
)
from app.routes.streams import event_stream

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
EVENT_STREAM = "text/event-stream"

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
    return await answer(request, accepted, wait, services, SAMPLE, media_type)


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
    media_type = choose(accept_header(request.headers), [*TRAJECTORY, EVENT_STREAM])
    accepted = await accept(request, body, client, services)
    if media_type == EVENT_STREAM:
        record = RequestRecord.of(request.scope)
        return StreamingResponse(
            event_stream(accepted, services.supervisor, services.encoders, record, wait),
            media_type=EVENT_STREAM,
            headers={
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                "X-Seed": str(accepted.submit.seed),
            },
        )
    return await answer(request, accepted, wait, services, TRAJECTORY, media_type)


async def accept(request: Request, body: SampleRequest, client: str, services: Services) -> Plan:
    """The plan, if there is room for it; of the seed that its Idempotency-Key had before.

    Raises Problem 422, Refused, or what `Jobs.remember` does.
    """
    refuse_webhook(request)
    record, supervisor = RequestRecord.of(request.scope), services.supervisor
    planned = plan(body, supervisor.model, services.settings, record.request_id)
    accepted = for_client(planned, client)
    job = accepted.submit
    record.describe_job(id=job.id, n=len(job.indices), steps=job.steps, sampler=job.sampler)
    supervisor.admit(job)
    key = idempotency_key(request, body, client)
    if key is None:
        return accepted
    return with_seed(accepted, await services.jobs.remember(key, accepted.submit.seed))


async def accept_job(
    request: Request, kind: Kind, body: SampleRequest, client: str, services: Services
) -> Response:
    """202 with the job's status, once it is on disk.

    Raises Problem 422, NotReady, BadKey, or what `Jobs.submit` does.
    """
    settings, request_id = services.settings, RequestRecord.of(request.scope).request_id
    planned = plan(body, services.supervisor.model, settings, request_id, as_job=True)
    accepted = for_client(planned, client)
    key = idempotency_key(request, body, client)
    webhook_url = request.headers.get("x-webhook-url")
    status = await services.jobs.submit(client, kind, accepted, key, webhook_url)
    headers = {"Location": f"/jobs/{status.id}", "Preference-Applied": "respond-async"}
    return JSONResponse(status.model_dump(mode="json"), 202, headers=headers)


async def answer(
    request: Request,
    accepted: Plan,
    wait: float,
    services: Services,
    representations: Encoders,
    media_type: str,
) -> Response:
    """Run the plan and encode its result; cancelled when the client goes away."""
    try:
        result = await unless_gone(request, _run(accepted, wait, services.supervisor))
    except ClientGone:
        return Response(status_code=499)  # nobody reads it
    tracing.record_phases(result.timing["queued_s"], result.timing["compute_s"])
    loop = asyncio.get_running_loop()
    with tracing.tracer.start_as_current_span("encode"):
        content = await loop.run_in_executor(services.encoders, representations[media_type], result)
    headers = {"X-Seed": str(accepted.submit.seed), "Vary": "Accept"}
    return Response(content, media_type=media_type, headers=headers)


async def _run(accepted: Plan, wait: float, supervisor: Supervisor) -> Result:
    async with aclosing(supervisor.run(accepted.submit, wait)) as events:
        return await gather(accepted, events)


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
