"""Jobs: what `Prefer: respond-async` answers, and everything under /jobs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.generation.plan import Plan, plan
from app.generation.schemas import JobStatus, SampleRequest
from app.http import ranges
from app.http.negotiation import accept_header, choose
from app.http.problems import Problem, shorten
from app.http.request_log import RequestRecord
from app.jobs import webhook
from app.jobs.progress import ENDED, LAST_ID, progress
from app.jobs.representations import PICTURES, STREAMS, Stored, load
from app.jobs.result_store import bound_bytes
from app.jobs.tables import Kind
from app.jobs.zip_stream import Body
from app.routes import openapi
from app.routes.dependencies import ClientDep, Services, ServicesDep, idempotency_key
from app.settings import Settings

EVENT_STREAM = "text/event-stream"
EXTENSIONS = {"application/x-npz": "npz", "image/apng": "png"}


async def check_owner(job_id: str, services: ServicesDep, client: ClientDep) -> None:
    """Where there are keys, a job is known to the holder of the one it came with. Raises UnknownJob
    for others."""
    if services.settings.keys:
        await services.jobs.check_owner(job_id, client)


router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(check_owner)])


async def accept_job(
    request: Request, kind: Kind, body: SampleRequest, client: str, services: Services
) -> Response:
    """202 once the job is on disk. Raises Problem 422, NotReady, or what `Jobs.submit` does."""
    settings, request_id = services.settings, RequestRecord.of(request.scope).request_id
    model = services.pool.model
    accepted = plan(body, model, settings, client=client, request_id=request_id, as_job=True)
    _check_size(accepted, settings)
    key = idempotency_key(request, body, client)
    url = _webhook_url(request, settings)
    status = await services.jobs.submit(client, kind, accepted, key, url)
    headers = {"Location": f"/jobs/{status.id}", "Preference-Applied": "respond-async"}
    return JSONResponse(status.model_dump(mode="json"), 202, headers=headers)


@router.get(
    "/{job_id}",
    summary="How far a job is",
    responses=openapi.JOB_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def status(job_id: str, services: ServicesDep) -> JobStatus:
    """Status and progress; `detail` says why it failed or what it waits for."""
    return await services.jobs.status(job_id)


@router.get(
    "/{job_id}/result",
    summary="What a job made",
    response_class=Response,
    responses=openapi.RESULT_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def result(job_id: str, request: Request, services: ServicesDep) -> Response:
    """The same bytes as the synchronous answer. zip and npz are streamed, have a known length, and
    can be had in ranges, so that a download goes on where it broke."""
    stored = await services.jobs.result(job_id)
    streams, pictures = STREAMS[stored.kind], PICTURES[stored.kind]
    media_type = choose(accept_header(request.headers), [*streams, *pictures])
    headers = _result_headers(stored, media_type)
    if media_type in pictures:
        whole = await run_in_threadpool(load, stored, services.settings.max_response_bytes)
        content = await run_in_threadpool(pictures[media_type], whole)
        return Response(content, media_type=media_type, headers=headers)
    body = await run_in_threadpool(streams[media_type], stored)
    if isinstance(body, Body):
        return ranges.respond(request, body.size, body.blocks, media_type, headers)
    return StreamingResponse(
        iter(()) if RequestRecord.of(request.scope).is_head else body,
        media_type=media_type,
        headers=headers,
    )


@router.get(
    "/{job_id}/events",
    summary="A job's progress, live",
    response_class=Response,
    responses=openapi.EVENTS_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def events(
    job_id: str,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """`progress` events, then one `done` or `error`. With `Last-Event-ID` only what is new; 204
    when there will be nothing more."""
    jobs, pool = services.jobs, services.pool
    found = await jobs.status(job_id)
    if last_event_id == LAST_ID and found.status in ENDED:
        return Response(status_code=204)
    return StreamingResponse(
        progress(jobs, job_id, last_event_id, lambda: pool.is_draining),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.delete(
    "/{job_id}",
    summary="Cancel and forget a job",
    status_code=204,
    responses=openapi.NO_JOB,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def delete(job_id: str, services: ServicesDep) -> None:
    """Its samples leave the engine at the next step, and its files are removed. Again: 404."""
    await services.jobs.delete(job_id)


def _check_size(accepted: Plan, settings: Settings) -> None:
    size = bound_bytes(accepted)
    limit = min(settings.jobs_budget_bytes, settings.jobs_client_bytes)
    if size > limit:
        reason = (
            f"the job's results may take {size} bytes; this server keeps {limit} for one client"
        )
        raise Problem(422, f"{reason}: ask for fewer samples or frames")


def _webhook_url(request: Request, settings: Settings) -> str | None:
    """Where to tell that the job has ended. Raises Problem 422."""
    url = request.headers.get("x-webhook-url")
    if url is None:
        return None
    if not settings.webhook_secret.get_secret_value():
        raise Problem(422, "X-Webhook-URL: this server has no secret to sign webhooks with")
    try:
        webhook.check_url(url, private=settings.webhook_private)
    except ValueError as error:
        raise Problem(422, f"X-Webhook-URL: {shorten(url)} is not allowed: {error}") from None
    return url


def _result_headers(stored: Stored, media_type: str) -> dict[str, str]:
    job_id, subtype = stored.plan.submit.id, media_type.partition("/")[2]
    extension = EXTENSIONS.get(media_type, subtype)
    return {
        "X-Seed": str(stored.plan.submit.seed),
        "Vary": "Accept",
        "ETag": f'"{job_id}-{subtype}"',
        "Content-Disposition": f'attachment; filename="{job_id}.{extension}"',
    }
