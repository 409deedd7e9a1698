"""The bodies of requests and answers of POST /bound."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.generation.schemas.answers import Timing
from app.generation.schemas.fields import Integers, Pictures, Seed, Variance
from app.generation.schemas.pictures import PicturesRequest


class BoundRequest(PicturesRequest):
    """Which pictures to measure, and which terms of the bound."""

    images: Pictures = Field(
        description="A picture, in base64 of PNG, JPEG, WebP or GIF, or several."
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
    seed: Seed | None = Field(
        None,
        description="The same seed gives the same numbers. null: the server draws one and names "
        "it.",
    )
    variance: Variance | None = Field(None, description="sigma_t. null: the checkpoint's.")


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
