"""A request whose answer is sent as a whole: planned, made once for all who ask for it, sent."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from fastapi import Request
from fastapi.responses import Response

from app.door.clients import Client
from app.generation import cost
from app.generation.answer_cache import Made
from app.generation.budget import Room
from app.generation.encoding import Encoded
from app.generation.formats import Format, Formats
from app.generation.identity import identity
from app.generation.limits import check_images
from app.generation.plan import Envelope, Plan, plan
from app.generation.schemas.requests import SampleRequest
from app.generation.starts import Begun, decoded_bytes, read_start
from app.http import conditional, tracing
from app.http.blocks import BlockResponse
from app.http.request_log import RequestRecord
from app.jobs.keys import Key
from app.pool.admission import Bounds
from app.pool.version import Version
from app.routes.dependencies import Services, bounds_of, idempotency_key, refuse_webhook
from app.wire.messages import Submit
from app.wire.model_info import ModelInfo

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


@dataclass(frozen=True)
class Asked:
    """A request that can be carried out, and whose it is. It has taken nothing yet."""

    request: Request
    client: Client
    version: Version
    planned: Plan
    names_seed: bool = True  # so that an equal request has the same bytes
    key: Key | None = None  # its Idempotency-Key

    @classmethod
    async def of(
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
        NotReady, PicturesBusy, BadKey, or Problem for a webhook."""
        refuse_webhook(request)
        model = services.models.info(version)
        begun = await begun_of(body, model, client, services)
        envelope = envelope_of(request, version, client)
        planned = plan(body, model, client.limits, envelope, as_stream=as_stream, begun=begun)
        key = idempotency_key(request, body, client.name)
        return cls(request, client, version, planned, body.seed is not None, key)

    async def identity(self, form: str, made_by: str | None) -> str | None:
        """What names the bytes of its answer in this format, which this one makes; None where
        nothing does: it names no seed, so that no other request is equal, or its model's engines
        may make other bytes."""
        if not self.names_seed or made_by is None:
            return None
        submit = self.planned.submit
        if submit.start is None and submit.bound is None:
            return identity(self.planned, made_by, form)
        # Pictures may be many: others are answered meanwhile
        return await asyncio.to_thread(identity, self.planned, made_by, form)

    def describe(self, job_id: str) -> None:
        """Note in the request's record what it asks for, and which job makes it."""
        job = self.planned.submit
        RequestRecord.of(self.request.scope).describe_job(
            id=job_id, model=self.planned.model, n=len(job.indices), steps=job.steps,
            sampler=job.sampler,
        )  # fmt: skip


def envelope_of(request: Request, version: Version, client: Client) -> Envelope:
    """What stands on the job of a client's request of a version."""
    return Envelope(version.key, client.name, RequestRecord.of(request.scope).request_id)


async def begun_of(
    body: SampleRequest,
    model: ModelInfo,
    client: Client,
    services: Services,
    *,
    as_job: bool = False,
) -> Begun | None:
    """Where the request's chains begin, read once there is room for it. Raises what `read_start`,
    `Pictures.turn` and `Budget.take` do, and InvalidField for more images than are allowed."""
    check_images(body, client.limits, as_job)  # before any picture of them is decoded
    if body.start is None or body.start.seeds is not None:
        return await read_start(body, model, services.pictures)
    async with services.pictures.turn(client.name):
        with await services.answers.take(decoded_bytes(body, model), client.name):
            return await read_start(body, model, services.pictures)


async def accept(
    asked: Asked,
    services: Services,
    check_room: Callable[[Submit, Bounds], None],
    made_by: str | None = None,
) -> Plan:
    """The plan, to be made by this maker if by any; with an Idempotency-Key that came before, with
    the same seed and by the same as then.

    With a key, raises what `check_room` and `Jobs.remember` do.
    """
    planned, key, seed = asked.planned, asked.key, asked.planned.submit.seed
    if key is not None:
        # A request that is refused takes no key
        check_room(planned.submit, bounds_of(asked.client))
        seed, made_by = await services.jobs.remember(key, planned.submit)
    asked.describe(planned.submit.id)
    submit = dataclasses.replace(planned.submit, seed=seed, made_by=made_by)
    return dataclasses.replace(planned, submit=submit)


async def answer(
    asked: Asked, wait: float, services: Services, formats: Formats, media_type: str
) -> Response:
    """The answer, made now, or with an equal one, or before; 304 where the client has it.

    It is begun once there is room for it; the client's leaving cancels it, unless others wait.
    """
    chosen = formats[media_type]
    made_by = services.models.maker(asked.version)
    name = await asked.identity(media_type + chosen.variant, made_by)
    headers = {"Vary": "Accept"}
    if not asked.planned.submit.is_encoding:
        headers["X-Seed"] = str(asked.planned.submit.seed)
    if name is not None:
        headers |= conditional.named(f'"{name}"')
        if conditional.is_known(asked.request.headers.getlist("if-none-match"), headers["ETag"]):
            services.metrics.reused.labels("known").inc()
            return Response(status_code=304, headers=headers)
        kept = services.makings.cache.get(name)
        if kept is not None:
            return await _send_kept(asked, services, kept, headers, media_type)
    with ExitStack() as held:
        size = chosen.cost(asked.planned)
        room = held.enter_context(await services.answers.take(size, asked.client.name))
        check_room = partial(services.makings.check_room, name)
        # An answer whose bytes have a name is made by nobody else
        accepted = await accept(asked, services, check_room, made_by if name else None)
        if "X-Seed" in headers:
            headers["X-Seed"] = str(accepted.submit.seed)
        try:
            made = await _make(asked, accepted, wait, services, name, chosen, room)
        except ClientGone:
            return Response(status_code=499)  # nobody reads it
        room.shrink(made.encoded.size + cost.plan_bytes(made.n))
        release = held.pop_all().close
        return _whole(made.encoded, services, headers, media_type, release)


async def _make(
    asked: Asked,
    accepted: Plan,
    wait: float,
    services: Services,
    name: str | None,
    chosen: Format,
    room: Room,
) -> Made:
    """Wait for the answer, which may be in the making already. Raises ClientGone, or what
    `Makings.join` and `Making.wait` do."""
    if services.makings.is_made(name):
        services.metrics.reused.labels("shared").inc()
    bounds = bounds_of(asked.client)
    with services.makings.join(name, accepted, chosen, room, asked.version, bounds) as making:
        made = await unless_gone(asked.request, making.wait(wait))
    asked.describe(made.header["id"])
    timing = made.timing
    tracing.record_phases(timing["queued_s"], timing["compute_s"], making.computed_at)
    return made


async def _send_kept(
    asked: Asked, services: Services, kept: Made, headers: dict[str, str], media_type: str
) -> Response:
    """An answer that was kept, when there is room to send it."""
    with ExitStack() as held:
        size = kept.encoded.size + cost.plan_bytes(kept.n)
        held.enter_context(await services.answers.take(size, asked.client.name))
        await accept(asked, services, lambda *_: None)
        asked.describe(kept.header["id"])
        services.metrics.reused.labels("kept").inc()
        headers = {**headers, "X-Cache": "hit"}
        return _whole(kept.encoded, services, headers, media_type, held.pop_all().close)


def _whole(
    encoded: Encoded,
    services: Services,
    headers: dict[str, str],
    media_type: str,
    release: Callable[[], object],
) -> Response:
    sized = {**headers, "Content-Length": str(encoded.size)}
    patience = services.settings.write_seconds
    return BlockResponse(_each(encoded), 200, sized, media_type, patience, release)


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
