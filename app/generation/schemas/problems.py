"""What a request is told that is refused."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str
    value: Any = Field(None, description="What the request has there, shortened.")
    message: str = Field(description="What is allowed.")


class ProblemBody(BaseModel):
    """A problem, as RFC 9457 describes it."""

    model_config = ConfigDict(title="Problem")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field([], description="The fields that are wrong, if any are.")
