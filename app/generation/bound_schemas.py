"""The bodies of requests and answers of POST /bound."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.generation.schemas import MAX_INTEGER, Integers, Text, Timing, tell_defaults


class BoundRequest(BaseModel):
    """Which pictures to measure, and which terms of the bound."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )

    images: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="A picture, in base64 of PNG, JPEG, WebP or GIF, or several."
    )
    labels: Annotated[int, Field(ge=0)] | Integers | None = Field(
        None,
        description="Class-conditional checkpoints only: one label for all pictures, or one each.",
    )
    terms: int | None = Field(
        None,
        ge=2,
        description="The decoder's term, and one from each of so many parts of the chain less one; "
        "T: all of them. null: 40.",
    )
    timesteps: Annotated[Integers, Field(min_length=1)] | None = Field(
        None,
        description="Instead of terms: the t of the terms, 1..T. The total is known of all alone.",
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_INTEGER,
        description="The same seed gives the same numbers. null: the server draws one and names "
        "it.",
    )  # fmt: skip
    variance: Literal["fixed_small", "fixed_large"] | None = Field(
        None, description="sigma_t. null: the checkpoint's."
    )
    resize: bool = Field(
        False, description="Scale pictures of other sizes, and cut them in the middle."
    )
    model: str | None = Field(
        None,
        max_length=64,
        description="Name of the model, one of `GET /models`. null: the server's first.",
    )


class BoundTerm(BaseModel):
    """A term of the bound: L_0 at t = 1, else L_{t-1}, by one draw of x_t."""

    t: int = Field(description="Counted as in the paper.")
    bits_per_dim: float
    weight: float = Field(description="How many terms of the chain it stands for.")
    x_t: str = Field(description="The noised picture as PNG, in base64.")
    x0_hat: str = Field(description="What the model expects from it, as PNG, in base64.")


class ImageBound(BaseModel):
    """The bound of one picture."""

    label: int | None
    bits_per_dim: float | None = Field(
        description="L_T and the terms, each as often as it stands for others. null: timesteps "
        "names but some."
    )
    standard_error: float | None = Field(
        description="Of that, from the choice of t. null: no total, or too few terms."
    )
    L_T: float
    L_0: float | None = Field(description="The decoder's term; null: it was not asked for.")
    terms: list[BoundTerm] = Field(description="In the order of t.")


class BoundResponse(BaseModel):
    """The answer of `POST /bound` as JSON. Everything is in bits per dimension."""

    id: str
    model: str
    seed: int
    images: list[ImageBound]
    timing: Timing
