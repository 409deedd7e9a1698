"""POST /bound."""

from contextlib import ExitStack

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.generation import cost
from app.generation.bound import check, formats_of, plan_bound, read_images
from app.generation.schemas.bound import BoundRequest, BoundResponse
from app.http import sse
from app.http.negotiation import accept_header, choose
from app.http.request_log import RequestRecord
from app.http.strict_json import StrictRoute
from app.pool.engine_jobs import HIGH_WATER
from app.routes import openapi_bound
from app.routes.answers import Asked, accept, answer, envelope_of
from app.routes.bound_stream import BoundStream
from app.routes.dependencies import (
    ClientDep,
    Services,
    ServicesDep,
    WaitDep,
    bounds_of,
    model_of,
    refuse_webhook,
)

router = APIRouter(tags=["generation"], route_class=StrictRoute)
OFFERED = ("application/json", "application/x-npz", sse.MEDIA_TYPE)


@router.post(
    "/bound",
    summary="Measure how many bits a picture takes",
    response_model=BoundResponse,
    responses=openapi_bound.RESPONSES,
    openapi_extra=openapi_bound.BODY,
)
async def bound(
    request: Request, services: ServicesDep, client: ClientDep, wait: WaitDep, body: BoundRequest
) -> Response:
    """The variational bound on the negative log likelihood (eq. 5), term by term; live as
    `text/event-stream`. Each term is one row of the network. There are no jobs of this kind, so
    that `Prefer: respond-async` changes nothing."""
    refuse_webhook(request)
    media_type = choose(accept_header(request.headers), OFFERED)
    with services.models.using(model_of(body, services).version) as version:
        model, limits = services.models.info(version), client.limits
        terms = check(body, model, limits)
        size = cost.pictures(body.images, model.image_shape)
        async with services.pictures.turn(client.name):
            with await services.answers.take(size, client.name):
                images = await read_images(body, model, services.pictures)
        envelope = envelope_of(request, version, client)
        has_pictures = media_type == "application/json"
        planned = plan_bound(
            body, images, terms, model, limits, envelope, has_pictures=has_pictures
        )
        asked = Asked(request, client, version, planned, names_seed=body.seed is not None)
        if media_type == sse.MEDIA_TYPE:
            return await stream(asked, wait, services)
        return await answer(asked, wait, services, formats_of(model), media_type)


async def stream(asked: Asked, wait: float, services: Services) -> Response:
    """Compute the terms, and send each when it is there."""
    with ExitStack() as held:
        version = held.enter_context(services.models.using(asked.version))
        model = services.models.info(version)
        batch = services.settings.max_batch or model.batch_sizes[-1]
        size = cost.bound_stream(asked.planned, HIGH_WATER, batch)
        room = held.enter_context(await services.answers.take(size, asked.client.name))
        accepted = await accept(asked, services, services.pool.check_room)
        # Admitted here, where a refusal still has a status; left with the rest, which cancels it.
        inflight = services.pool.submit(accepted.submit, wait, bounds_of(asked.client))
        held.enter_context(inflight)
        record = RequestRecord.of(asked.request.scope)
        return BoundStream(
            accepted, model.num_timesteps, inflight, room, services.encoders, record,
            held.pop_all().close,
        )  # fmt: skip
