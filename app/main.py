"""The FastAPI application: `create_app(settings)` wires everything, and opens nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.http import problems
from app.http.access_log import Observer
from app.http.metrics import Metrics
from app.http.request_limits import Guard
from app.jobs.service import Jobs
from app.pool.engine_process import COMMAND
from app.pool.pool import Bounds, Limits, Supervisor
from app.routes import generation, jobs, page, system
from app.routes.dependencies import Services
from app.settings import Settings
from app.wire.options import Options
from diffusion import __version__

ENCODER_THREADS = 2
DESCRIPTION = """
Images from a denoising diffusion probabilistic model (Ho, Jain, Abbeel 2020), one denoising step
at a time. Choose the representation with `Accept`; errors are RFC 9457 problems.
"""


def create_app(
    settings: Settings,
    on_unusable: Callable[[str], None],
    engine_command: Sequence[str] = COMMAND,
) -> FastAPI:
    """The service. Engines start with it and end with it.

    `on_unusable` is called with the reason when an engine says that it can never start.
    `engine_command` starts a process that speaks the messages of `app.wire`.
    """
    services = make_services(settings, on_unusable, engine_command)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with services.encoders:
            services.supervisor.start()
            try:
                async with services.jobs.running():
                    yield
            finally:
                await services.supervisor.stop()

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
        Guard,
        max_request_bytes=settings.max_request_bytes,
        body_seconds=settings.body_seconds,
    )
    app.add_middleware(Observer, metrics=services.metrics)
    problems.install(app)
    return app


def make_services(
    settings: Settings, on_unusable: Callable[[str], None], engine_command: Sequence[str]
) -> Services:
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
    supervisor = Supervisor(options, limits, settings.hang_seconds, on_unusable, engine_command)
    return Services(
        settings,
        supervisor,
        Jobs(settings, supervisor),
        Metrics(supervisor),
        ThreadPoolExecutor(ENCODER_THREADS, "encoder"),
    )
