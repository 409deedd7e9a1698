"""GET and DELETE /jobs/{id}, its result and its events."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import Headers

from app.generation.cost import plan_bytes
from app.generation.schemas.status import JobStatus
from app.generation.zip_stream import Body
from app.http import conditional, ranges, sse
from app.http.blocks import BlockResponse
from app.http.negotiation import accept_header, choose
from app.http.problems import Problem
from app.http.ranges import Part
from app.http.request_log import RequestRecord
from app.jobs.errors import UnknownJob
from app.jobs.progress import progress
from app.jobs.representations import PICTURES, STREAMS, Stored, memory_bytes, picture
from app.jobs.tables import UNFINISHED
from app.routes import openapi, openapi_jobs
from app.routes.dependencies import ClientDep, ServicesDep
from app.routes.results import Reading

EXTENSIONS = {"application/x-npz": "npz", "image/apng": "png"}
"""File name extensions that are not the media type's subtype."""
LAST_ID = "end"
"""The id of a stream's last event."""


async def check_owner(job_id: str, services: ServicesDep, client: ClientDep) -> None:
    """Where the server has API keys, only the client that a job came from finds it.

    Raises UnknownJob for others.
    """
    if services.clients.need_key:
        await services.jobs.check_owner(job_id, client.name)


router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(check_owner)])


@router.get(
    "/{job_id}",
    summary="Show a job's progress",
    responses=openapi_jobs.JOB_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def get_job(job_id: str, services: ServicesDep) -> JobStatus:
    """A job's status and progress; `detail` says why it failed or what it waits for."""
    return await services.jobs.status(job_id)


@router.get(
    "/{job_id}/result",
    summary="Fetch a job's result",
    response_class=Response,
    responses=openapi_jobs.RESULT_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def get_job_result(
    job_id: str, request: Request, services: ServicesDep, client: ClientDep
) -> Response:
    """The same bytes as the synchronous answer; 304 where If-None-Match names their ETag. A zip or
    npz can be fetched in ranges, so that an interrupted download can be resumed."""
    with ExitStack() as held:
        n = (await services.jobs.status(job_id)).total
        room = held.enter_context(await services.answers.take(plan_bytes(n), client.name))
        stored = await services.jobs.result(job_id)
        offered = [*STREAMS[stored.kind], *PICTURES[stored.kind]]
        media_type = choose(accept_header(request.headers), offered)
        known = request.headers.getlist("if-none-match")
        if conditional.is_known(known, _etag(stored, media_type)):
            return Response(status_code=304, headers=_result_headers(stored, media_type))
        await room.grow(memory_bytes(stored, media_type))
        reading = Reading(services.jobs, stored, services.readers, room)
        part, blocks = await _content(request, reading, stored, media_type)
        if RequestRecord.of(request.scope).is_head:
            blocks = iter(())
        return BlockResponse(
            await reading.blocks(blocks),
            part.status,
            {**_result_headers(stored, media_type), **part.headers},
            media_type,
            services.settings.write_seconds,
            held.pop_all().close,
        )


@router.get(
    "/{job_id}/events",
    summary="Follow a job's progress",
    response_class=Response,
    responses=openapi_jobs.EVENTS_RESPONSES,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def follow_job(
    job_id: str,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """`progress` events, then one `done` or `error`. With `Last-Event-ID`, only what is new; 204 if
    that was the last event."""
    jobs, pool = services.jobs, services.pool
    found = await jobs.status(job_id)
    # A browser reconnects after every end of a stream; only 204 tells it not to.
    if last_event_id == LAST_ID and found.status not in UNFINISHED:
        return Response(status_code=204)
    statuses = progress(jobs, job_id, last_event_id, lambda: pool.is_draining)
    blocks = _event_stream(statuses)
    return StreamingResponse(blocks, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


@router.delete(
    "/{job_id}",
    summary="Cancel or delete a job",
    status_code=204,
    responses=openapi_jobs.DELETED,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def delete_job(job_id: str, services: ServicesDep) -> None:
    """Stops the job at the next step and removes its files. After that, its id is unknown (404)."""
    await services.jobs.delete(job_id)


async def _content(
    request: Request, reading: Reading, stored: Stored, media_type: str
) -> tuple[Part, Iterator[bytes]]:
    """What is sent of a result, and its blocks. HEAD makes no picture."""
    if media_type in PICTURES[stored.kind]:
        if RequestRecord.of(request.scope).is_head:
            return ranges.WHOLE, iter(())
        size, blocks = await reading.call(picture, stored, media_type)
        return Part(200, {"Content-Length": str(size)}), iter(blocks)
    body = await reading.call(STREAMS[stored.kind][media_type], stored)
    if not isinstance(body, Body):
        return ranges.WHOLE, body
    # Range is for GET alone (RFC 9110, section 14.2)
    asked = Headers() if RequestRecord.of(request.scope).is_head else request.headers
    part = ranges.choose(asked, body.size, _etag(stored, media_type))
    return part, body.blocks(part.start, part.stop)


async def _event_stream(statuses: AsyncGenerator[JobStatus, None]) -> AsyncIterator[bytes]:
    """A job's statuses as events, with a comment whenever nothing came for a while."""
    try:
        async with aclosing(statuses), aclosing(sse.with_pauses(statuses)) as paced:
            async for status in paced:
                yield sse.comment() if status is None else _event(status)
    except UnknownJob as error:
        yield _error(404, f"{error}: it has been cancelled")


def _event(status: JobStatus) -> bytes:
    """`progress`, its id being the number of finished samples; at the end `done` or `error`."""
    match status.status:
        case "failed":
            return _error(500, str(status.detail))
        case "expired":
            return _error(410, f"job {status.id} has expired")
        case "finished":
            return sse.event("done", status.model_dump(mode="json"), LAST_ID)
        case "waiting" | "running":
            return sse.event("progress", status.model_dump(mode="json"), str(status.done))


def _error(status: int, detail: str) -> bytes:
    return sse.event("error", Problem(status, detail).body(), LAST_ID)


def _result_headers(stored: Stored, media_type: str) -> dict[str, str]:
    job_id = stored.plan.submit.id
    extension = EXTENSIONS.get(media_type, media_type.partition("/")[2])
    return {
        "X-Seed": str(stored.plan.submit.seed),
        **conditional.named(_etag(stored, media_type)),
        "Content-Disposition": f'attachment; filename="{job_id}.{extension}"',
    }


def _etag(stored: Stored, media_type: str) -> str:
    return f'"{stored.plan.submit.id}-{media_type.partition("/")[2]}"'
