"""What is known about one request when it is over, for its log line, the metrics and its span."""

import time
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope


@dataclass(frozen=True)
class JobSummary:
    """The work that a request asks of a model: `n` images of `steps` steps each."""

    id: str
    model: str
    n: int
    steps: int
    sampler: str


@dataclass
class RequestRecord:
    """Facts about one request. Middleware, handlers and streams add those that they learn."""

    request_id: str = ""
    is_head: bool = False  # handlers see a GET
    key_name: str | None = None  # of the client's API key
    started: float = field(default_factory=time.monotonic)
    job: JobSummary | None = None
    dropped: str | None = None  # the reason why the request was refused or lost
    first_frame_seconds: float | None = None

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        """The record of the request with this ASGI scope; the first call makes it."""
        state = scope.setdefault("state", {})
        return cast(RequestRecord, state.setdefault("record", cls()))

    @property
    def seconds(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self.started

    def describe_job(self, *, id: str, model: str, n: int, steps: int, sampler: str) -> None:
        """Note the work that the request asks for."""
        self.job = JobSummary(id, model, n, steps, sampler)

    def drop(self, reason: str) -> None:
        """Note that the request is refused or lost; the first reason counts."""
        self.dropped = self.dropped or reason

    def saw_frame(self) -> None:
        """Note that a stream has a frame; the first one is timed."""
        if self.first_frame_seconds is None:
            self.first_frame_seconds = self.seconds
