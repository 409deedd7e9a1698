"""The bodies of requests and answers of POST /encode."""

from pydantic import BaseModel, Field

from app.generation.schemas.answers import Timing
from app.generation.schemas.fields import Pictures
from app.generation.schemas.pictures import PicturesRequest


class EncodeRequest(PicturesRequest):
    """Which pictures to turn into the noise from which DDIM makes them again."""

    image: Pictures = Field(
        description="A picture, in base64 of PNG, JPEG, WebP or GIF, or several."
    )
    steps: int = Field(
        50, ge=1, description="Timesteps from the picture to T, those of DDIM on the way back."
    )
    t: int | None = Field(None, ge=1, description="Go no further than this t. null: to T.")


class EncodeResponse(BaseModel):
    """The answer of `POST /encode` as JSON."""

    id: str
    model: str
    steps: int
    t: int = Field(description="Where the states are: the t for `start.t`.")
    x_t: str = Field(
        description="The states, for `start.x_t`: float32 [n,C,H,W] as .npy, in base64."
    )
    timing: Timing
