"""The models of the server: /model and /models, what they are and whether they are loaded."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.door.clients import Client
from app.generation.schemas import (
    Limits,
    LoadRequest,
    Model,
    ModelEntry,
    ModelList,
    Replacement,
)
from app.http.problems import Problem
from app.http.strict_json import StrictRoute
from app.pool.models import Entry
from app.routes import openapi
from app.routes.dependencies import ClientDep, Services, ServicesDep
from app.wire.messages import ModelInfo

router = APIRouter(tags=["models"], route_class=StrictRoute)


async def check_admin(client: ClientDep) -> None:
    """Raise Problem 403 unless the client's API key may change which models are loaded."""
    if not client.is_admin:
        detail = (
            "loading and unloading models need an API key with `admin = true`: `ddpm key NAME "
            "--admin` makes one, for the file that DDPM_API_KEYS_FILE names"
        )
        raise Problem(403, detail)


ADMIN = Annotated[None, Depends(check_admin)]


@router.get(
    "/model",
    summary="Describe the default model",
    responses={**openapi.OK, **openapi.DOOR, **openapi.NOT_READY},
)
async def get_model(request: Request, services: ServicesDep) -> Model:
    """The first model's origin and measured quality, how it is run, and the limits of requests:
    those of the client, if the request has its API key."""
    return _described(services.models.default.info, request, services)


@router.get(
    "/models",
    summary="List the models",
    responses={**openapi.MODELS_RESPONSES},
)
async def get_models(request: Request, services: ServicesDep) -> ModelList:
    """Every model: whether it is loaded, and, as far as it is known, what `GET /model` says."""
    entries = [_entry(entry, request, services) for entry in services.models]
    return ModelList(models=entries, loadable=services.models.loadable)


@router.get(
    "/models/{name}",
    summary="Describe a model",
    responses={**openapi.MODEL_RESPONSES},
)
async def get_one_model(name: str, request: Request, services: ServicesDep) -> ModelEntry:
    """One of the models: whether it is loaded, and what `GET /model` says of it."""
    return _entry(services.models.find(name), request, services)


@router.post(
    "/models/{name}",
    summary="Load or replace a model",
    status_code=202,
    responses={**openapi.LOAD_RESPONSES},
    openapi_extra=openapi.LOAD_BODY,
)
async def load_model(
    name: str,
    request: Request,
    services: ServicesDep,
    _: ADMIN,
    body: LoadRequest = LoadRequest(),  # noqa: B008 - frozen
) -> ModelEntry:
    """Load a model, or a new version of one, in the background. A new version serves from the
    moment that it is warm, and the old one ends with its last image. Needs an API key with
    `admin = true`."""
    return _entry(services.models.replace(name, body.checkpoint), request, services)


@router.delete(
    "/models/{name}",
    summary="Unload a model",
    status_code=202,
    responses={**openapi.UNLOAD_RESPONSES},
    openapi_extra=openapi.KEY_OR_NONE,
)
async def unload_model(
    name: str, request: Request, services: ServicesDep, _: ADMIN
) -> ModelEntry:
    """Give back a model's memory once its last image is made. It stays in the list, and the next
    request loads it again. Needs an API key with `admin = true`."""
    return _entry(services.models.unload(name), request, services)


def _entry(entry: Entry, request: Request, services: Services) -> ModelEntry:
    version, new = entry.version, entry.replacement
    info = version.known
    return ModelEntry(
        name=entry.name,
        default=entry is services.models.default_entry,
        state=version.told_state,
        detail=version.detail,
        replacement=None
        if new is None
        else Replacement(state="failed" if new.failure else "loading", detail=new.detail),
        load_seconds=version.load_seconds,
        memory_bytes=version.memory_bytes,
        used_at=None if version.used_at is None else datetime.fromtimestamp(version.used_at, UTC),
        model=None if info is None else _described(info, request, services),
    )


def _described(info: ModelInfo, request: Request, services: Services) -> Model:
    """What the contract has of a model, with the limits of whoever asks."""
    client: Client | None = request.scope["state"].get("client")
    own = services.settings if client is None else client.limits
    limits = Limits.model_validate({name: getattr(own, name) for name in Limits.model_fields})
    needs_key = services.clients.need_key
    return Model.model_validate({**asdict(info), "needs_key": needs_key, "limits": limits})
