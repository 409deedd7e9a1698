"""POST /v1/images/generations and GET /v1/models, for clients of OpenAI's images API."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.generation.openai_images import check_size, format_of, scale_of, with_label
from app.generation.schemas.openai import ApiModel, ApiModelList, ImagesRequest, ImagesResponse
from app.http.negotiation import accept_header, choose
from app.http.problems import Problem, invalid_field
from app.http.strict_json import StrictRoute
from app.pool.errors import UnknownModel
from app.pool.registry import Entry
from app.routes import openapi, openapi_v1
from app.routes.answers import Asked, answer
from app.routes.dependencies import ClientDep, Services, ServicesDep, WaitDep

JSON = "application/json"
router = APIRouter(prefix="/v1", tags=["OpenAI's API"], route_class=StrictRoute)


@router.post(
    "/images/generations",
    summary="Generate images for clients of OpenAI's API",
    response_model=ImagesResponse,
    responses=openapi_v1.IMAGES,
    openapi_extra=openapi_v1.IMAGES_BODY,
)
async def generate_images(
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    wait: WaitDep,
    body: ImagesRequest = ImagesRequest(),  # noqa: B008 - frozen
) -> Response:
    """n images of a class, as PNGs in base64. Besides OpenAI's fields it takes those of /sample."""
    choose(accept_header(request.headers), [JSON])
    with services.models.using(_entry(body.model, services).version) as version:
        model = services.models.info(version)
        scale = scale_of(body.size, model)
        check_size(body.n, scale, model, client.limits.max_response_bytes)
        asked = await Asked.of(request, with_label(body, model), client, services, version)
        return await answer(asked, wait, services, {JSON: format_of(scale)}, JSON)


@router.get(
    "/models",
    summary="List the models for clients of OpenAI's API",
    responses=openapi_v1.MODELS,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def list_models(services: ServicesDep, _: ClientDep) -> ApiModelList:
    """The models that requests may name. `GET /models` tells more of them."""
    return ApiModelList(data=[_described(entry) for entry in services.models])


@router.get(
    "/models/{name}",
    summary="Name a model for clients of OpenAI's API",
    responses=openapi_v1.MODEL,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def retrieve_model(name: str, services: ServicesDep, _: ClientDep) -> ApiModel:
    """One of the models. `GET /models/{name}` tells more of it."""
    return _described(_entry(name, services))


def _entry(name: str | None, services: Services) -> Entry:
    """A model by its name; None: the first. Raises Problem 404, as that API has it."""
    try:
        return services.models.find(name)
    except UnknownModel as error:
        errors = invalid_field("model", error.name, error.reason).errors
        raise Problem(404, str(error), errors=errors) from None


def _described(entry: Entry) -> ApiModel:
    source = entry.version.source
    return ApiModel(id=entry.name, created=0, owned_by=source.origin or source.checkpoint)
