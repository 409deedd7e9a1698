"""How far a job is, and whether the server is ready."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.generation.schemas.answers import Header


class JobStatus(Header):
    """How far a job is, as answers, events and webhooks tell it."""

    kind: Literal["sample", "denoise-trajectory"]
    status: Literal["waiting", "running", "finished", "failed", "expired"]
    detail: str | None = Field(description="Why the job failed, or what it waits for.")
    total: int = Field(description="Number of images asked for.")
    done: int = Field(description="Number of images that are made and stored.")
    rate: float | None = Field(description="Images a second since the job began, or went on.")
    left_s: float | None = Field(description="Seconds left at that rate.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime = Field(description="When the job and its result are removed.")


class Readiness(BaseModel):
    """The answer of `GET /readyz` when the server can serve."""

    status: str
    reasons: list[str] = Field(
        description="Empty here; the problem of a 503 has the reasons, and in `loading` the names "
        "of the models that are to be loaded first, where the others serve already."
    )
