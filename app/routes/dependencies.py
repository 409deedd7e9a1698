"""What requests are answered with: made once, by `create_app`."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated, Self, cast

from fastapi import Depends, Request

from app.http.metrics import Metrics
from app.jobs.service import Jobs
from app.pool.pool import Supervisor
from app.settings import Settings


@dataclass(frozen=True)
class Services:
    """Of one server. `encoders` are threads for pictures: off the event loop, off the engine."""

    settings: Settings
    supervisor: Supervisor
    jobs: Jobs
    metrics: Metrics
    encoders: Executor

    @classmethod
    def of(cls, request: Request) -> Self:
        """For other dependencies: each that one asks for costs every request a little."""
        return cast(Self, request.app.state.services)


async def get_services(request: Request) -> Services:
    """A coroutine: FastAPI would call a plain function in a thread."""
    return Services.of(request)


ServicesDep = Annotated[Services, Depends(get_services)]
