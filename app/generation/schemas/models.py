"""What the server tells of its models and limits, and how one is asked to load another."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from app.generation.schemas.fields import RequestBody
from diffusion.tuned import step_counts


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
        description="The sampler, steps and spacing that its card recommends, and the guidance: "
        "what is left out has its usual default."
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
    engines: list[str] = Field(
        description="The engines that have it loaded, by the names that metrics have."
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


class LoadRequest(RequestBody):
    """Which checkpoint a model is to be loaded from."""

    checkpoint: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Name of a built-in model, what the server was started with, or a model of the "
        "Hub that it allows. null: what the model was loaded from.",
    )
