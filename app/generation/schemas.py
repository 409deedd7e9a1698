"""The bodies of requests and answers: the only home of the HTTP contract's field names."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from diffusion.spacing import SamplerName, SpacingName
from diffusion.tuned import step_counts

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""
Integers = Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
"""Integers from 0 up, checked up to the first wrong one: a body has room for half a million."""


def tell_defaults(schema: dict[str, Any]) -> None:
    """Say each field's default in its description, not as JSON Schema's `default`: generators of
    typed clients, such as openapi-typescript, then have every request name the field."""
    for field in schema["properties"].values():
        default = field.pop("default", None)
        if default is not None:
            field["description"] += f" Default: {default}."


Text = Annotated[str, Field(min_length=1)]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Start(BaseModel):
    """Where the chains begin, in place of noise: exactly one of image, images, seeds and x_t."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )

    image: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None,
        description="A picture, in base64 of PNG, JPEG, WebP or GIF, that is noised to t (eq. 4); "
        "or n of them.",
    )
    images: Annotated[list[Text], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Two pictures, both noised to t by the same noise, and mixed (Fig. 8).",
    )
    seeds: Annotated[Integers, Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Two seeds, between whose x_T the chains begin: for samplers without noise.",
    )
    x_t: Text | None = Field(
        None,
        description="States, in base64 of an .npy or .npz: float32 [n,C,H,W] or [C,H,W], as "
        "`/encode` and trajectories have them.",
    )
    t: int | None = Field(
        None,
        ge=1,
        description="The t at which they begin, 1..T. null: T, for images only with a mask; with "
        "x_t what the .npz says.",
    )
    weight: Weight | Annotated[list[Weight], Field(min_length=1)] | None = Field(
        None,
        description="With images or seeds: the share of the second, 0..1; or n of them, of samples "
        "that then have the same noise. null: 0.5.",
    )
    resize: bool = Field(
        False,
        description="Scale pictures of other sizes, and the mask, and cut them in the middle.",
    )


class SampleRequest(BaseModel):
    """What to generate. Every field has a default."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )

    n: int = Field(1, ge=1, description="Number of images. `GET /model` has the limit.")
    seed: int | None = Field(
        None, ge=0, le=MAX_INTEGER,
        description="The same seed gives the same bytes. null: the server draws one and names it.",
    )  # fmt: skip
    first_index: int = Field(
        0, ge=0, le=MAX_INTEGER,
        description="The images are numbers first_index .. first_index + n - 1 of this seed.",
    )  # fmt: skip
    model: str | None = Field(
        None,
        max_length=64,
        description="Name of the model, one of `GET /models`. null: the server's first.",
    )
    sampler: SamplerName = Field(
        "ddpm",
        description="ddpm: Algorithm 2 of the paper; ddim: DDIM; dpmpp: DPM-Solver++(2M); unipc: "
        "UniPC of order 3; ipndm: iPNDM of order 4.",
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="Number of timesteps kept, 1..T. null: T for ddpm, 50 for ddim, 20 for others.",
    )
    spacing: SpacingName | Integers = Field(
        "even",
        description="Which timesteps are kept: even; quadratic (denser near the image); log_snr "
        "(even in log SNR); karras (eq. 5 of Karras et al. 2022, rho = 7); tuned (as the model's "
        "card has it for this sampler and number of steps); or, instead of steps, a list of t that "
        "falls from T.",
    )
    eta: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False,
        description="ddim only: the noise of each step, from 0 (none) to 1 (as much as ddpm).",
    )  # fmt: skip
    variance: Literal["fixed_small", "fixed_large"] | None = Field(
        None,
        description="ddpm only: sigma_t. null: the checkpoint's, or fixed_small when steps < T.",
    )
    labels: Annotated[int, Field(ge=0)] | Integers | None = Field(
        None,
        description="Class-conditional checkpoints only: one label for all images, or n of them.",
    )
    guidance: float = Field(
        0.0, ge=0, le=20, allow_inf_nan=False,
        description="Classifier-free guidance w: eps = (1 + w) eps(x, t, label) - w eps(x, t).",
    )  # fmt: skip
    guidance_interval: Annotated[Integers, Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="[t_high, t_low], 0..T: guidance applies only at these t; elsewhere a step "
        "costs half. null: at all.",
    )
    start: Start | None = Field(
        None, description="Where the chains begin, in place of noise. null: at noise."
    )
    mask: Text | None = Field(
        None,
        description="With start.image: a picture in base64, of which white is made anew, black is "
        "kept, and grey is mixed; with ddpm and ddim.",
    )
    resamplings: int = Field(
        1, ge=1, le=20,
        description="With a mask: how often each part of the chain is made (RePaint).",
    )  # fmt: skip
    jump: int = Field(
        10, ge=1, description="With a mask: how many steps the chain goes back up for that."
    )


class TrajectoryRequest(SampleRequest):
    """What to generate, and which states on the way to show."""

    frames: int = Field(
        11, ge=2, description="Number of states to show, evenly spaced: x_T first, x_0 last."
    )
    timesteps: Integers | None = Field(
        None,
        min_length=1,
        description="Instead of frames: the t to show, 0..T. T is noise, 0 the image.",
    )


class EncodeRequest(BaseModel):
    """Which pictures to turn into the noise from which DDIM makes them again."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )

    image: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="A picture, in base64 of PNG, JPEG, WebP or GIF, or several."
    )
    labels: Annotated[int, Field(ge=0)] | Integers | None = Field(
        None,
        description="Class-conditional checkpoints only: one label for all pictures, or one each.",
    )
    steps: int = Field(
        50, ge=1, description="Timesteps from the picture to T, those of DDIM on the way back."
    )
    t: int | None = Field(None, ge=1, description="Go no further than this t. null: to T.")
    resize: bool = Field(
        False, description="Scale pictures of other sizes, and cut them in the middle."
    )
    model: str | None = Field(
        None,
        max_length=64,
        description="Name of the model, one of `GET /models`. null: the server's first.",
    )


class EncodeResponse(BaseModel):
    """The answer of `POST /encode` as JSON."""

    id: str
    model: str
    steps: int
    t: int = Field(description="Where the states are: the t for `start.t`.")
    x_t: str = Field(
        description="The states, for `start.x_t`: float32 [n,C,H,W] as .npy, in base64."
    )
    timing: "Timing"


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


class Limits(BaseModel):
    """The limits of requests and jobs: the settings of the same names."""

    max_samples: int
    max_frames: int
    max_queue_samples: int
    max_queue_steps: int
    max_client_samples: int
    max_client_steps: int
    max_wait_seconds: int
    max_request_bytes: int
    max_response_bytes: int
    answers_budget_bytes: int
    max_job_samples: int
    max_jobs: int
    max_client_jobs: int
    jobs_budget_bytes: int
    jobs_client_bytes: int


class Model(BaseModel):
    """The answer of `GET /model`: the checkpoint, how well it was measured, and how it runs."""

    name: str
    image_shape: list[int] = Field(description="Channels, height and width.")
    num_timesteps: int = Field(description="T, the number of steps of the full chain.")
    schedule: str
    alpha_bar_T: float = Field(
        description="alpha_bar at t = T: the share of the image's variance that is left."
    )
    alpha_bar: list[float] = Field(description="alpha_bar_t (eq. 4) for t = 0..T; 1 at t = 0.")
    variance: str
    clip: float | None
    classes: list[str] = Field(
        description="Names of the labels, from 0 on. Empty: the model is unconditional."
    )
    null_label: int | None = Field(
        description="The label that means none. null: every request needs labels."
    )
    parameters: int
    sha256: str = Field(description="SHA-256 of the weights file, in hex.")
    source: str | None = Field(
        description="Where it came from: a built-in name, or owner/name on the Hugging Face Hub. "
        "null: a folder."
    )
    revision: str | None = Field(description="The commit on the Hub that is served.")
    data: str | None
    command: str | None = Field(description="The command that trained it.")
    trained: dict[str, object]
    quality: dict[str, object] = Field(description="What was measured of it, with the commands.")
    recommended: dict[str, object] = Field(
        description="The sampler, steps and spacing that its card recommends. Empty: none."
    )
    tuned: Annotated[dict[str, list[int]], BeforeValidator(step_counts)] = Field(
        description="By sampler, the numbers of steps for which spacing may be tuned."
    )
    runtime: str
    precision: str = Field(description="The numbers it is computed in: float32 or bfloat16.")
    precision_reason: str = Field(description="Why in these, in one sentence.")
    device: str
    batch_sizes: list[int] = Field(
        description="Network rows in one step, for each size of batch that is in use. Where two "
        "batches run at once, both together."
    )
    step_seconds: dict[str, float] = Field(
        description="Seconds that a DDPM step takes, by batch size, measured at the start."
    )
    batch_invariant: bool = Field(
        description="Whether an image's bytes are the same whatever runs beside it, as measured "
        "at the start."
    )
    needs_key: bool = Field(
        description="Whether requests need an API key: `Authorization: Bearer KEY`."
    )
    limits: Limits


class Replacement(BaseModel):
    """The version that is to take the place of a model's present one."""

    state: Literal["loading", "failed"]
    detail: str | None = Field(
        description="What is being done to load it, or why it could not be loaded."
    )


class ModelEntry(BaseModel):
    """One of the server's models: whether it is loaded, and what `GET /model` says of it."""

    name: str = Field(description="What requests call it in their field `model`.")
    default: bool = Field(description="Whether requests that name no model get this one.")
    state: Literal["ready", "loading", "unloaded"] = Field(
        description="ready: requests are run at once. unloaded: the first request loads it, and "
        "is told to come back."
    )
    detail: str | None = Field(
        description="While it loads, what is being done; where it could not be loaded, why."
    )
    replacement: Replacement | None = Field(
        description="The version that is to take its place; null: none."
    )
    load_seconds: float | None = Field(description="Seconds that its last load took.")
    memory_bytes: int | None = Field(
        description="Memory that it takes on each device while it is loaded, about."
    )
    used_at: datetime | None = Field(description="When it was last asked for images.")
    model: Model | None = Field(
        description="What `GET /model` says of it; null until it has been loaded once."
    )


class ModelList(BaseModel):
    """The answer of `GET /models`."""

    models: list[ModelEntry] = Field(description="In their order; the first is the default.")
    loadable: list[str] = Field(
        description="Names of the built-in models that `POST /models/{name}` can load besides."
    )


class LoadRequest(BaseModel):
    """Which checkpoint a model is to be loaded from."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra=tell_defaults
    )

    checkpoint: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Name of a built-in model, what the server was started with, or a model of the "
        "Hub that it allows. null: what the model was loaded from.",
    )


class Readiness(BaseModel):
    """The answer of `GET /readyz` when the server can serve."""

    status: str
    reasons: list[str] = Field(description="Empty here; the problem of a 503 has the reasons.")


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
