"""The answers of POST /sample and POST /denoise-trajectory as JSON."""

from pydantic import BaseModel, Field


class Timing(BaseModel):
    """Seconds from the request's arrival to its first step, and from there to its last."""

    queued_s: float
    compute_s: float


class Sample(BaseModel):
    """One image."""

    index: int
    label: int | None
    png: str = Field(description="The image as PNG, in base64.")
    sha256: str = Field(description="SHA-256 of the PNG's bytes, in hex.")


class Header(BaseModel):
    """What every JSON answer begins with. Its seed, sampler and steps are those that were used."""

    id: str
    model: str
    seed: int
    sampler: str
    steps: int


class SampleResponse(Header):
    """The answer of `POST /sample` as JSON."""

    samples: list[Sample]
    timing: Timing


class Frame(BaseModel):
    """The state x_t, and the image that the model expects from it (eq. 15, clipped)."""

    t: int = Field(description="Counted as in the paper: T is pure noise, 0 the image.")
    x_t: str = Field(description="The state as PNG, in base64.")
    x0_hat: str = Field(description="The expected image as PNG, in base64.")


class Trajectory(BaseModel):
    """The way of one image from noise."""

    index: int
    label: int | None
    frames: list[Frame]


class TrajectoryResponse(Header):
    """The answer of `POST /denoise-trajectory` as JSON."""

    trajectories: list[Trajectory]
    timing: Timing
