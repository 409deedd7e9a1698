"""The models of the server: /model and /models, what they are and whether they are loaded."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.door.clients import Client
from app.generation.errors import InvalidField
from app.generation.schemas.models import (
    Limits,
    LoadRequest,
    Model,
    ModelEntry,
    ModelList,
    Replacement,
)
from app.http.problems import Problem
from app.http.strict_json import StrictRoute
from app.pool.errors import CannotLoad
from app.pool.models import Models
from app.pool.registry import Entry
from app.routes import openapi, openapi_models
from app.routes.dependencies import ClientDep, Services, ServicesDep
from app.settings.models import NAME
from app.wire.model_info import ModelInfo

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
    responses=openapi_models.MODEL,
)
async def get_model(request: Request, services: ServicesDep) -> Model:
    """The first model's origin and measured quality, how it is run, and the limits of requests:
    those of the client, if the request has its API key."""
    return _described(services.models.info(services.models.default.version), request, services)


@router.get(
    "/models",
    summary="List the models",
    responses=openapi_models.LIST,
)
async def get_models(request: Request, services: ServicesDep) -> ModelList:
    """Every model: whether it is loaded, and, as far as it is known, what `GET /model` says."""
    entries = [_entry(entry, request, services) for entry in services.models]
    loadable = services.sources.loadable(services.models.names)
    return ModelList(models=entries, loadable=loadable)


@router.get(
    "/models/{name}",
    summary="Describe a model",
    responses=openapi_models.ENTRY,
)
async def get_one_model(name: str, request: Request, services: ServicesDep) -> ModelEntry:
    """One of the models: whether it is loaded, and what `GET /model` says of it."""
    return _entry(services.models.find(name), request, services)


@router.post(
    "/models/{name}",
    summary="Load or replace a model",
    status_code=202,
    responses=openapi_models.LOAD,
    openapi_extra=openapi_models.LOAD_BODY,
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
    if not NAME.fullmatch(name):
        reason = "a name has 1..64 letters, digits and ._-, a letter or digit first"
        raise InvalidField("name", name, reason)
    checkpoint = body.checkpoint or services.models.checkpoint(name)
    try:
        source = await asyncio.to_thread(services.sources.find, name, checkpoint)
    except CannotLoad as error:
        raise InvalidField("checkpoint", checkpoint, str(error)) from None
    try:
        return _entry(services.models.replace(source), request, services)
    except CannotLoad as error:
        raise InvalidField("name", name, str(error)) from None


@router.delete(
    "/models/{name}",
    summary="Unload a model",
    status_code=202,
    responses=openapi_models.UNLOAD,
    openapi_extra=openapi.KEY_OR_NONE,
)
async def unload_model(name: str, request: Request, services: ServicesDep, _: ADMIN) -> ModelEntry:
    """Give back a model's memory once its last image is made. It stays in the list, and the next
    request loads it again. Needs an API key with `admin = true`."""
    return _entry(services.models.unload(name), request, services)


def _entry(entry: Entry, request: Request, services: Services) -> ModelEntry:
    models, version, info = services.models, entry.version, entry.version.known
    return ModelEntry(
        name=entry.name,
        default=entry is models.default,
        state=models.state(version),
        detail=models.detail(version),
        replacement=_replacement(entry, models),
        engines=models.where(version),
        load_seconds=version.load_seconds,
        memory_bytes=version.memory_bytes,
        used_at=None if version.used_at is None else datetime.fromtimestamp(version.used_at, UTC),
        model=None if info is None else _described(info, request, services),
    )


def _replacement(entry: Entry, models: Models) -> Replacement | None:
    new = entry.replacement
    if new is None:
        return None
    is_failed = new.failure is not None and models.state(new) == "unloaded"
    return Replacement(state="failed" if is_failed else "loading", detail=models.detail(new))


def _described(info: ModelInfo, request: Request, services: Services) -> Model:
    """What the contract has of a model, with the limits of whoever asks."""
    client: Client | None = request.scope["state"].get("client")
    own = services.settings if client is None else client.limits
    limits = Limits.model_validate({name: getattr(own, name) for name in Limits.model_fields})
    needs_key = services.clients.need_key
    return Model.model_validate({**asdict(info), "needs_key": needs_key, "limits": limits})
