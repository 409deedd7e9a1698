"""What is told of one request when it is over: in its log line and in the metrics."""

import time
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from app.wire.messages import Submit


@dataclass
class Record:
    """Filled in by whoever comes to know: the guard, the handlers, the stream."""

    request_id: str = ""
    is_head: bool = False  # what handlers see as GET
    started: float = field(default_factory=time.monotonic)
    submit: Submit | None = None
    dropped: str | None = None
    first_frame_seconds: float | None = None

    @classmethod
    def of(cls, scope: Scope) -> "Record":
        """The record that travels with the request; begun when first asked for."""
        return cast(Record, scope.setdefault("state", {}).setdefault("record", cls()))

    @property
    def seconds(self) -> float:
        """Since the request's arrival."""
        return time.monotonic() - self.started

    def drop(self, reason: str) -> None:
        """The request is refused or lost; of several reasons the first one counts."""
        self.dropped = self.dropped or reason

    def saw_frame(self) -> None:
        """A frame exists; the first one is timed."""
        if self.first_frame_seconds is None:
            self.first_frame_seconds = self.seconds
