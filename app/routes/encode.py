"""POST /encode."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.generation import cost
from app.generation.encode import check_number, plan_encoding, read_images
from app.generation.formats import ENCODE
from app.generation.schemas.encode import EncodeRequest, EncodeResponse
from app.http.negotiation import accept_header, choose
from app.http.strict_json import StrictRoute
from app.routes import openapi_starts
from app.routes.answers import Asked, answer, envelope_of
from app.routes.dependencies import ClientDep, ServicesDep, WaitDep, model_of, refuse_webhook

router = APIRouter(tags=["generation"], route_class=StrictRoute)


@router.post(
    "/encode",
    summary="Turn pictures into the noise from which they come back",
    response_model=EncodeResponse,
    responses=openapi_starts.ENCODE_RESPONSES,
    openapi_extra=openapi_starts.ENCODE_BODY,
)
async def encode(
    request: Request, services: ServicesDep, client: ClientDep, wait: WaitDep, body: EncodeRequest
) -> Response:
    """DDIM backwards: the x_t from which `/sample` with `sampler: ddim`, the same steps and labels,
    and `start.x_t` makes the pictures again. There are no jobs of this kind, so that
    `Prefer: respond-async` changes nothing."""
    refuse_webhook(request)
    media_type = choose(accept_header(request.headers), list(ENCODE))
    check_number(body, client.limits)
    with services.models.using(model_of(body, services).version) as version:
        model = services.models.info(version)
        size = cost.pictures(body.image, model.image_shape)
        async with services.pictures.turn(client.name):
            with await services.answers.take(size, client.name):
                images = await read_images(body, model, services.pictures)
        envelope = envelope_of(request, version, client)
        planned = plan_encoding(body, images, model, client.limits, envelope)
        asked = Asked(request, client, version, planned)
        return await answer(asked, wait, services, ENCODE, media_type)
