"""What handlers ask for, named once.

Coroutines, all of them: FastAPI would call a plain function in a thread.
"""

from concurrent.futures import Executor
from typing import Annotated, cast

from fastapi import Depends, Request

from app.engine.supervisor import Supervisor
from app.jobs.service import Jobs
from app.metrics import Metrics
from app.settings import Settings


async def get_settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def get_supervisor(request: Request) -> Supervisor:
    return cast(Supervisor, request.app.state.supervisor)


async def get_encoders(request: Request) -> Executor:
    return cast(Executor, request.app.state.encoders)


async def get_metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


async def get_jobs(request: Request) -> Jobs:
    return cast(Jobs, request.app.state.jobs)


SettingsDep = Annotated[Settings, Depends(get_settings)]
SupervisorDep = Annotated[Supervisor, Depends(get_supervisor)]
JobsDep = Annotated[Jobs, Depends(get_jobs)]
MetricsDep = Annotated[Metrics, Depends(get_metrics)]
EncodersDep = Annotated[Executor, Depends(get_encoders)]
"""Threads for encoding pictures: off the event loop, off the engine."""
