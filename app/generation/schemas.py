"""The request and response bodies of the HTTP contract: the only home of its field names."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""
Integers = Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
"""Checked up to the first wrong one: a body has room for half a million."""


class SampleRequest(BaseModel):
    """What to generate. Everything has a default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    n: int = Field(1, ge=1, description="Number of images; `GET /model` names the limit.")
    seed: int | None = Field(
        None, ge=0, le=MAX_INTEGER,
        description="The same seed gives the same bytes. null: the server draws one and names it.",
    )  # fmt: skip
    first_index: int = Field(
        0, ge=0, le=MAX_INTEGER,
        description="The samples made are first_index .. first_index+n-1 of this seed.",
    )  # fmt: skip
    sampler: Literal["ddpm", "ddim", "dpmpp"] = Field(
        "ddpm", description="Algorithm 2 of the paper; DDIM; DPM-Solver++(2M)."
    )
    steps: int | None = Field(
        None, ge=1, description="Kept timesteps, 1..T. Default: T for ddpm, 50 ddim, 20 dpmpp."
    )
    eta: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False,
        description="ddim only: 0 adds no noise, 1 as much as ddpm.",
    )  # fmt: skip
    variance: Literal["fixed_small", "fixed_large"] | None = Field(
        None,
        description="ddpm only: sigma_t. Default: the checkpoint's; fixed_small when steps < T.",
    )
    labels: Annotated[int, Field(ge=0)] | Integers | None = Field(
        None, description="Class-conditional checkpoints: one label for all, or n of them."
    )
    guidance: float = Field(
        0.0, ge=0, le=20, allow_inf_nan=False,
        description="Classifier-free guidance w: (1+w) eps(x,t,label) - w eps(x,t).",
    )  # fmt: skip


class TrajectoryRequest(SampleRequest):
    """What to generate, and which states on the way to show."""

    frames: int = Field(
        11, ge=2, description="States shown, evenly spaced, x_T the first and x_0 the last."
    )
    timesteps: Integers | None = Field(
        None, min_length=1, description="Instead of frames: the t to show, 0..T; 0 is the result."
    )


class Timing(BaseModel):
    """Seconds from arrival to the first step, and from there to the last."""

    queued_s: float
    compute_s: float


class Sample(BaseModel):
    """One image."""

    index: int
    label: int | None
    png: str = Field(description="The PNG, base64.")
    sha256: str = Field(description="Of the PNG's bytes.")


class Header(BaseModel):
    """What every JSON answer begins with; the fields that repeat it."""

    id: str
    model: str
    seed: int
    sampler: str
    steps: int


class SampleResponse(Header):
    """`POST /sample` as JSON."""

    samples: list[Sample]
    timing: Timing


class Frame(BaseModel):
    """The state at t, and what the model makes of that very state (eq. 15, clipped)."""

    t: int = Field(description="As in the paper: T is pure noise, 0 the image.")
    x_t: str = Field(description="PNG, base64.")
    x0_hat: str = Field(description="PNG, base64.")


class Trajectory(BaseModel):
    """One image's way from noise."""

    index: int
    label: int | None
    frames: list[Frame]


class TrajectoryResponse(Header):
    """`POST /denoise-trajectory` as JSON."""

    trajectories: list[Trajectory]
    timing: Timing


class JobStatus(Header):
    """How far a job is: in answers, events and webhooks."""

    kind: Literal["sample", "denoise-trajectory"]
    status: Literal["waiting", "running", "finished", "failed", "expired"]
    detail: str | None = Field(description="Why it failed, or what it waits for.")
    total: int = Field(description="Samples asked for.")
    done: int = Field(description="Samples that are made and stored.")
    rate: float | None = Field(description="Samples a second, since it began or went on.")
    left_s: float | None = Field(description="Seconds left at that rate.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime = Field(description="When it and its result are removed.")


class Limits(BaseModel):
    """What a request may ask for."""

    max_samples: int
    max_frames: int
    max_queue_samples: int
    max_queue_steps: int
    max_client_samples: int
    max_client_steps: int
    max_wait_seconds: int
    max_request_bytes: int
    max_response_bytes: int
    max_job_samples: int
    max_jobs: int
    max_client_jobs: int
    jobs_budget_bytes: int
    jobs_client_bytes: int


class Model(BaseModel):
    """`GET /model`."""

    name: str
    image_shape: list[int] = Field(description="C, H, W.")
    num_timesteps: int = Field(description="T.")
    schedule: str
    alpha_bar_T: float = Field(description="What is left of the image at T.")
    alpha_bar: list[float] = Field(description="alpha_bar_t (eq. 4) for t = 0..T; 1 at t = 0.")
    variance: str
    clip: float | None
    classes: list[str] = Field(description="The labels' names, from label 0; empty: unconditional.")
    null_label: int | None = Field(description="Set: labels may be left out, guidance works.")
    parameters: int
    sha256: str = Field(description="Of the weights file.")
    data: str | None
    command: str | None = Field(description="That trained it.")
    trained: dict[str, object]
    quality: dict[str, object] = Field(description="As measured, with the commands.")
    runtime: str
    precision: str
    device: str
    batch_sizes: list[int] = Field(
        description="Those in use, up to the knee of the curve below; with two batches at once, on "
        "a CPU, of both together."
    )
    step_seconds: dict[str, float] = Field(
        description="Seconds of a DDPM step by batch size, measured at warm-up."
    )
    batch_invariant: bool = Field(
        description="Measured at warm-up: a sample's bytes do not depend on what it runs beside."
    )
    needs_key: bool = Field(description="Requests need an API key, `Authorization: Bearer`.")
    limits: Limits


class Readiness(BaseModel):
    """`GET /readyz`, when it can serve."""

    status: str
    reasons: list[str] = Field(description="Why not; empty here, in the problem of a 503 not.")


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, object]] | None = None
