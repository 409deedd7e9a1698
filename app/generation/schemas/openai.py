"""The bodies of requests and answers of OpenAI's images API, as far as this server has it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.generation.schemas.answers import Header, Timing
from app.generation.schemas.fields import tell_defaults
from app.generation.schemas.requests import SampleRequest


def tell_null(schema: dict[str, Any]) -> None:
    """Say that every field may be null, besides what `tell_defaults` says."""
    tell_defaults(schema)
    null = {"type": "null"}
    for name, field in schema["properties"].items():
        if null not in field.get("anyOf", []):
            description = field.pop("description")
            schema["properties"][name] = {"anyOf": [field, null], "description": description}


class ImagesRequest(SampleRequest):
    """What to generate: OpenAI's fields, and besides everything of /sample. A field that is null is
    as if it were left out."""

    model_config = ConfigDict(json_schema_extra=tell_null)

    prompt: str = Field(
        "",
        max_length=1000,
        description="The class of the images by its name or number, of those that `GET /model` "
        "has; empty: none in particular.",
    )
    size: str = Field(
        "auto",
        max_length=20,
        description="WIDTHxHEIGHT: the model's own, or an integer multiple of it, for which pixels "
        "are repeated. auto: the model's own.",
    )
    response_format: Literal["b64_json"] = Field(
        "b64_json", description="The server keeps no pictures at URLs."
    )
    # What clients send as it is OpenAI's default, which is what this server does anyway
    output_format: Literal["png"] = Field("png", description="The only one.")
    quality: Literal["auto", "standard"] = Field("auto", description="There is but one.")
    background: Literal["auto", "opaque"] = Field("auto", description="There is but one.")
    moderation: Literal["auto", "low"] = Field("auto", description="There is none.")
    stream: Literal[False] = Field(False, description="For a stream ask /denoise-trajectory.")
    user: str = Field("", max_length=1000, description="Not looked at.")
    safety_identifier: str = Field("", max_length=1000, description="Not looked at.")

    @field_validator("response_format", mode="before")
    @classmethod
    def _refuse_urls(cls, value: Any) -> Any:
        if value == "url":
            reason = "this server keeps no pictures at URLs: ask for b64_json"
            raise PydanticCustomError("no_urls", reason)
        return value

    @model_validator(mode="before")
    @classmethod
    def _leave_out_null(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        known = cls.model_fields
        return {k: value for k, value in fields.items() if value is not None or k not in known}


class ImageData(BaseModel):
    """One image."""

    b64_json: str = Field(description="The image as PNG, in base64.")
    index: int
    label: int | None


class ImagesResponse(Header):
    """The answer of `POST /v1/images/generations`. Its seed makes the same images again."""

    created: int = Field(description="When they were made, in Unix seconds.")
    data: list[ImageData]
    size: str
    timing: Timing


class ApiModel(BaseModel):
    """A model, as OpenAI's API describes one."""

    id: str = Field(description="What requests call it in their field `model`.")
    object: Literal["model"] = "model"
    created: int = Field(description="Always 0: a checkpoint does not tell.")
    owned_by: str = Field(description="Where it came from.")


class ApiModelList(BaseModel):
    """The answer of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ApiModel] = Field(description="In their order; the first is the default.")


class ApiError(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None = Field(description="The field that is wrong, if one is.")
    code: str | None


class ApiErrorBody(BaseModel):
    """An error, as OpenAI's API has it."""

    error: ApiError
