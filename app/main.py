"""The FastAPI application: `create_app(settings)` wires everything, and opens nothing."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.http.access_log import AccessLog
from app.http.metrics import Metrics
from app.http.request_limits import RequestLimits
from app.jobs.service import Jobs
from app.pool.pool import Bounds, EnginePool, Limits
from app.routes import errors, generation, jobs, page, system
from app.routes.dependencies import Services
from app.settings import Settings
from app.wire.options import Options
from diffusion import __version__

ENCODER_THREADS = 2
DESCRIPTION = """
Images from a denoising diffusion probabilistic model (Ho, Jain, Abbeel 2020), one denoising step
at a time. Choose the representation with `Accept`; errors are RFC 9457 problems.
"""


def create_app(settings: Settings, on_unusable: Callable[[str], None]) -> FastAPI:
    """The service. Engines start with it and end with it.

    `on_unusable` is called with the reason when an engine says that it can never start.
    """
    services = make_services(settings, on_unusable)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with services.encoders:
            services.pool.start()
            try:
                async with services.jobs.running():
                    yield
            finally:
                await services.pool.stop()

    app: FastAPI = FastAPIOffline(
        title="DDPM service",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        # Traces, where the OTEL_... variables say; metrics are Prometheus', logs go to stderr.
        telemetry={"auto_configure": True, "metrics": False, "logs": False},
        redirect_slashes=False,  # a redirect would send the client to wherever its Host says
        lifespan=lifespan,
    )
    app.state.services = services
    app.include_router(generation.router)
    app.include_router(jobs.router)
    app.include_router(system.router)
    page.install(app)
    app.add_middleware(
        RequestLimits,
        max_request_bytes=settings.max_request_bytes,
        body_seconds=settings.body_seconds,
    )
    app.add_middleware(AccessLog, metrics=services.metrics)
    errors.install(app)
    return app


def make_services(settings: Settings, on_unusable: Callable[[str], None]) -> Services:
    """All that requests are answered with; nothing of it runs yet."""
    options = [
        Options(
            checkpoint=settings.checkpoint,
            device=device,
            runtime=settings.runtime,
            threads=settings.threads_per_engine,
            max_batch=settings.max_batch,
            log_format=settings.log_format,
        )
        for device in settings.devices
    ]
    limits = Limits(
        Bounds(settings.max_queue_samples, settings.max_queue_steps),
        Bounds(settings.max_client_samples, settings.max_client_steps),
    )
    pool = EnginePool(options, limits, settings.hang_seconds, on_unusable)
    return Services(
        settings,
        pool,
        Jobs(settings, pool),
        Metrics(pool),
        ThreadPoolExecutor(ENCODER_THREADS, "encoder"),
    )
