"""POST /sample and POST /denoise-trajectory."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.door.clients import Client
from app.generation import cost
from app.generation.collect import Shown, gather
from app.generation.encoding import Encoded
from app.generation.formats import SAMPLE, TRAJECTORY, Formats
from app.generation.plan import Plan, plan
from app.generation.schemas import (
    SampleRequest,
    SampleResponse,
    TrajectoryRequest,
    TrajectoryResponse,
)
from app.http import sse, tracing
from app.http.blocks import BlockResponse
from app.http.negotiation import accept_header, choose
from app.http.request_log import RequestRecord
from app.http.strict_json import StrictRoute
from app.jobs.tables import Kind
from app.pool.engine_jobs import HIGH_WATER
from app.pool.version import Version
from app.routes import openapi
from app.routes.dependencies import (
    ClientDep,
    Services,
    ServicesDep,
    WaitDep,
    bounds_of,
    idempotency_key,
    model_of,
    preferences,
    refuse_webhook,
)
from app.routes.streams import TrajectoryStream, frame_data

T = TypeVar("T")
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
    with services.models.using(model_of(body, services).version) as version:
        asked = Asked.of(request, body, client, services, version)
        return await answer(asked, wait, services, SAMPLE, media_type)


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
    as_stream = media_type == sse.MEDIA_TYPE
    with services.models.using(model_of(body, services).version) as version:
        asked = Asked.of(request, body, client, services, version, as_stream=as_stream)
        if as_stream:
            return await stream(asked, wait, services)
        return await answer(asked, wait, services, TRAJECTORY, media_type)


@dataclass(frozen=True)
class Asked:
    """A request that can be carried out, and whose it is. It has taken nothing yet."""

    request: Request
    body: SampleRequest
    client: Client
    version: Version
    planned: Plan

    @classmethod
    def of(
        cls,
        request: Request,
        body: SampleRequest,
        client: Client,
        services: Services,
        version: Version,
        *,
        as_stream: bool = False,
    ) -> Self:
        """Plan a request of a version of its model. Raises InvalidField, AnswerTooLarge,
        NotReady, or Problem for a webhook."""
        refuse_webhook(request)
        planned = plan(
            body,
            services.models.info(version),
            client.limits,
            key=version.key,
            client=client.name,
            request_id=RequestRecord.of(request.scope).request_id,
            as_stream=as_stream,
        )
        return cls(request, body, client, version, planned)


async def accept(asked: Asked, services: Services) -> Plan:
    """The plan; with an Idempotency-Key that came before, with the same seed as then.

    With a key, raises what `EnginePool.check_room` and `Jobs.remember` do.
    """
    planned = accepted = asked.planned
    key = idempotency_key(asked.request, asked.body, asked.client.name)
    if key is not None:
        # A request that is refused takes no key
        services.pool.check_room(planned.submit, bounds_of(asked.client))
        seed = await services.jobs.remember(key, planned.submit)
        if seed != planned.submit.seed:
            submit = dataclasses.replace(planned.submit, seed=seed)
            accepted = dataclasses.replace(planned, submit=submit)
    job, record = accepted.submit, RequestRecord.of(asked.request.scope)
    record.describe_job(
        id=job.id, model=accepted.model, n=len(job.indices), steps=job.steps, sampler=job.sampler
    )
    return accepted


async def accept_job(
    request: Request, kind: Kind, body: SampleRequest, client: Client, services: Services
) -> Response:
    """202 with the job's status, once it is on disk.

    Raises Problem 422, NotReady, BadKey, or what `Jobs.submit` does.
    """
    version, limits, name = model_of(body, services).version, client.limits, client.name
    model, request_id = services.models.info(version), RequestRecord.of(request.scope).request_id
    n = min(body.n, limits.max_job_samples)  # more is refused
    with await services.answers.take(cost.plan_bytes(n), name):
        accepted = plan(
            body, model, limits,
            key=version.key, client=name, request_id=request_id, as_job=True,
        )  # fmt: skip
        key = idempotency_key(request, body, name)
        webhook_url = request.headers.get("x-webhook-url")
        status = await services.jobs.submit(name, kind, accepted, key, webhook_url, limits)
    location = f"{request.scope['root_path']}/jobs/{status.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async"}
    return JSONResponse(status.model_dump(mode="json"), 202, headers=headers)


async def answer(
    asked: Asked, wait: float, services: Services, formats: Formats, media_type: str
) -> Response:
    """Run the plan and encode its result, once there is room for it. The client's leaving cancels
    it."""
    chosen = formats[media_type]
    with ExitStack() as held:
        size = chosen.cost(asked.planned)
        room = held.enter_context(await services.answers.take(size, asked.client.name))
        accepted = await accept(asked, services)
        try:
            with services.pool.submit(accepted.submit, wait, bounds_of(asked.client)) as inflight:
                made = gather(accepted, inflight, chosen.needs)
                result = await unless_gone(asked.request, made)
        except ClientGone:
            return Response(status_code=499)  # nobody reads it
        tracing.record_phases(result.timing["queued_s"], result.timing["compute_s"])
        with tracing.tracer.start_as_current_span("encode"):
            encoded = await room.run(services.encoders, chosen.encode, result)
        room.shrink(encoded.size + cost.plan_bytes(len(accepted.labels)))
        headers = {
            "X-Seed": str(accepted.submit.seed),
            "Vary": "Accept",
            "Content-Length": str(encoded.size),
        }
        patience = services.settings.write_seconds
        release = held.pop_all().close
        return BlockResponse(_each(encoded), 200, headers, media_type, patience, release)


async def stream(asked: Asked, wait: float, services: Services) -> Response:
    """Run the plan, and send each frame when it is there."""
    with ExitStack() as held:
        version = held.enter_context(services.models.using(asked.version))
        batch = services.settings.max_batch or services.models.info(version).batch_sizes[-1]
        size = cost.stream(asked.planned, HIGH_WATER, batch)
        room = held.enter_context(await services.answers.take(size, asked.client.name))
        accepted = await accept(asked, services)
        # Admitted here, where a refusal still has a status; left with the rest, which cancels it.
        bounds = bounds_of(asked.client)
        inflight = services.pool.submit(accepted.submit, wait, bounds)
        held.enter_context(inflight)

        async def encode(frame: Shown) -> dict[str, Any]:
            return await room.run(services.encoders, frame_data, frame)

        record = RequestRecord.of(asked.request.scope)
        return TrajectoryStream(accepted, inflight, encode, record, held.pop_all().close)


async def _each(content: Encoded) -> AsyncGenerator[bytes, None]:
    for block in content.blocks:
        yield block


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
