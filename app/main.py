"""The FastAPI application: `create_app(settings)` puts everything together and opens nothing."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.door.clients import Clients
from app.door.door import Door
from app.generation.answer_cache import AnswerCache
from app.generation.budget import Budget
from app.generation.pictures import Pictures
from app.http.access_log import AccessLog
from app.http.cors import Cors
from app.http.metrics import Metrics
from app.http.openai_errors import OpenAiErrors
from app.http.request_id import RequestId
from app.http.request_limits import RequestLimits
from app.http.root_path import RootPath
from app.http.security_headers import SecurityHeaders
from app.jobs.database import database_url
from app.jobs.file_systems import file_system
from app.jobs.service import Jobs
from app.local_engines import LocalEngines
from app.pool.admission import Bounds, Limits
from app.pool.errors import CannotLoad
from app.pool.memory import MIB
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.sources import Sources
from app.pool.version import Source
from app.routes import (
    bound,
    docs,
    encode,
    errors,
    generation,
    jobs,
    models,
    openai,
    openapi,
    page,
    system,
)
from app.routes.dependencies import Services
from app.routes.making import Makings
from app.settings import SettingError, Settings
from app.settings.models import MAX_MODELS
from app.wire.options import AUTO
from diffusion import __version__

ENCODER_THREADS = 2
READER_THREADS = 4
Recruit = Callable[[EnginePool], AbstractAsyncContextManager[None]]
"""Gives a pool engines as long as the context lasts."""
DESCRIPTION = """
Images from denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020), one denoising step
at a time. Choose the representation with `Accept`; errors are RFC 9457 problems.
"""


def create_app(
    settings: Settings,
    on_unusable: Callable[[str], None],
    engines: LocalEngines | None = None,
    recruit: Recruit | None = None,
) -> FastAPI:
    """The service. Its engines start when the app starts, and end when it ends.

    `on_unusable` is called with the reason when the service cannot go on. `engines` are those of
    this machine; None: none of them is started yet. `recruit` brings engines from elsewhere
    instead, as long as the app runs. Models of the Hub are fetched. Raises SettingError for a
    setting with which nothing could run.
    """
    check_storage(settings)
    services = make_services(settings, on_unusable)
    if recruit is None:
        (engines or LocalEngines(settings)).join(services.pool, on_unusable)

    app: FastAPI = FastAPIOffline(
        docs_url=None,  # app.routes.docs has a stricter one
        title="DDPM service",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        # Traces, where the OTEL_... variables say; metrics are Prometheus', logs go to stderr.
        telemetry={"auto_configure": True, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # a redirect would send the client to wherever its Host says
        lifespan=lambda _: running(services, recruit, on_unusable),
    )
    app.state.services = services
    add_routes(app, settings.root_path)
    add_middleware(app, services)
    errors.install(app)
    app.openapi_schema = openapi.complete(app.openapi())
    check_root_path(app, settings.root_path)
    return app


@asynccontextmanager
async def running(
    services: Services, recruit: Recruit | None, on_unusable: Callable[[str], None]
) -> AsyncIterator[None]:
    """Have engines, also those that `recruit` brings, and the work on jobs run as long as the block
    lasts; `on_unusable` is told the reason when that cannot go on."""
    recruited = recruit or (lambda _: nullcontext())
    services.pool.start()
    try:
        async with recruited(services.pool), services.jobs.running(on_unusable):
            yield
    finally:
        await services.pool.stop()
        await services.pictures.close()
        for threads in (services.encoders, services.readers):
            threads.shutdown(wait=False, cancel_futures=True)  # a disk may never answer


def add_routes(app: FastAPI, root_path: str) -> None:
    """Add every endpoint, the page and the reference."""
    for part in (generation, encode, bound, jobs, models, openai, system):
        app.include_router(part.router)
    page.install(app, root_path)
    docs.install(app)


def add_middleware(app: FastAPI, services: Services) -> None:
    """Put around the routes what every request passes, the innermost first."""
    settings = services.settings
    app.add_middleware(Door, settings=settings, clients=services.clients)
    app.add_middleware(
        RequestLimits,
        max_request_bytes=settings.max_request_bytes,
        body_seconds=settings.body_seconds,
    )
    app.add_middleware(OpenAiErrors)  # also for what these two refuse
    if settings.origins:
        app.add_middleware(Cors, origins=settings.origins)  # pages may read refusals, too
    app.add_middleware(RequestId)
    app.add_middleware(SecurityHeaders)
    # It sees what all these refuse.
    app.add_middleware(AccessLog, metrics=services.metrics, probes=system.PROBES)
    if settings.root_path:
        app.add_middleware(RootPath, root=settings.root_path)


def check_root_path(app: FastAPI, root: str) -> None:
    """Raise SettingError for a path that is one of the service's own: with a proxy that strips it,
    it would be unclear which of the two a client asks for."""
    paths = [*app.openapi()["paths"], *(getattr(route, "path", "") for route in app.routes)]
    if root and any(path == root or path.startswith(f"{root}/") for path in paths):
        raise SettingError("root_path", root, "it is a path of the service itself; choose another")


def check_storage(settings: Settings) -> None:
    """Raise SettingError for a job database or result store that this installation cannot reach.

    It connects to neither: what is only out of order now may be repaired while the server runs.
    """
    try:
        database_url(settings.jobs_url, settings.jobs_folder)
    except ValueError as error:
        raise SettingError("jobs_url", settings.jobs_url, str(error)) from None
    try:
        file_system(settings.results_url)
    except ImportError as error:
        reason = f"fsspec lacks a package for it: {error}"
        raise SettingError("jobs_results", settings.jobs_results, reason) from None
    except ValueError as error:
        raise SettingError("jobs_results", settings.jobs_results, str(error)) from None


def find_models(sources: Sources) -> list[Source]:
    """What the server is started with. Raises SettingError for a checkpoint that is nowhere."""
    try:
        return sources.at_start()
    except CannotLoad as error:
        raise SettingError("checkpoint", error.checkpoint, str(error)) from None


def make_services(settings: Settings, on_unusable: Callable[[str], None]) -> Services:
    """What requests are answered with; nothing of it runs yet, and the pool has no engines."""
    sources = Sources(settings.models, settings.hub_patterns, settings.hub_max_bytes)
    served = Models(
        find_models(sources),
        settings.max_batch or AUTO,
        settings.model_memory * MIB,
        on_unusable,
        MAX_MODELS,
    )
    limits = Limits(
        Bounds(settings.max_queue_samples, settings.max_queue_steps),
        Bounds(settings.max_client_samples, settings.max_client_steps),
    )
    answers = Budget(settings.answers_budget_bytes)
    cache = AnswerCache(settings.answers_cache_bytes)
    encoders = ThreadPoolExecutor(ENCODER_THREADS, "encoder")
    pool = EnginePool(served, limits)
    clients = Clients(settings)
    metrics = Metrics(pool, served.counts, answers, cache)
    return Services(
        settings,
        served,
        sources,
        pool,
        Jobs(settings, pool, clients.limits_of),
        metrics,
        clients,
        answers,
        Makings(pool, encoders, cache),
        Pictures(count=metrics.count_picture),
        encoders,
        ThreadPoolExecutor(READER_THREADS, "reader"),
    )
