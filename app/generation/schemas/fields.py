"""What several bodies have in common: the base of requests, and the types of their fields."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from diffusion.spacing import SpacingName

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""


def tell_defaults(schema: dict[str, Any]) -> None:
    """Say each field's default in its description, not as JSON Schema's `default`: generators of
    typed clients, such as openapi-typescript, then have every request name the field."""
    for field in schema["properties"].values():
        default = field.pop("default", None)
        if default is not None:
            field["description"] += f" Default: {default}."


class RequestBody(BaseModel):
    """A request: it names no field that there is not, has no value of another type, and does not
    change after it is read."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )


def either(one: type | tuple[type, ...], allowed: str) -> Discriminator:
    """Tell whether a value is of the branch ONE of a union, by its type, or of SEVERAL, a list.

    Pydantic then tells what is wrong by that branch alone, and of any other value that it is not
    what is `allowed`. By itself it tries both, and tells of a mistake once for each.
    """

    def branch(value: object) -> str | None:
        if isinstance(value, list):
            return "several"
        return "one" if isinstance(value, one) else None

    message = f"Input should be {allowed}"
    return Discriminator(branch, custom_error_type="union", custom_error_message=message)


ONE, SEVERAL = Tag("one"), Tag("several")
"""The branches of `either`."""

Text = Annotated[str, Field(min_length=1)]
Label = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Integers = Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
"""Integers from 0 up, checked up to the first wrong one: a body has room for half a million."""

Labels = Annotated[
    Annotated[Label, ONE] | Annotated[Integers, SEVERAL],
    either(int, "a label, or a list of labels"),
]
Pictures = Annotated[
    Annotated[Text, ONE] | Annotated[list[Text], Field(min_length=1), SEVERAL],
    either(str, "a picture in base64, or a list of them"),
]
Weights = Annotated[
    Annotated[Weight, ONE] | Annotated[list[Weight], Field(min_length=1, fail_fast=True), SEVERAL],
    either((int, float), "a number from 0 to 1, or a list of them"),
]
SpacingOrTimes = Annotated[
    Annotated[SpacingName, ONE] | Annotated[Integers, SEVERAL],
    either(str, "the name of a spacing, or a list of t"),
]
"""A spacing, or the t themselves."""
Variance = Literal["fixed_small", "fixed_large"]
ModelName = Annotated[
    str | None,
    Field(
        max_length=64,
        description="Name of the model, one of `GET /models`. null: the server's first.",
    ),
]
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
