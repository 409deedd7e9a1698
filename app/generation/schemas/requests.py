"""What POST /sample and POST /denoise-trajectory are asked."""

from typing import Annotated

from pydantic import Field

from app.generation.schemas.fields import (
    MAX_INTEGER,
    Integers,
    Labels,
    ModelName,
    Pictures,
    RequestBody,
    Seed,
    SpacingOrTimes,
    Text,
    Variance,
    Weights,
)
from diffusion.labels import MAX_GUIDANCE
from diffusion.spacing import SamplerName


class Start(RequestBody):
    """Where the chains begin, in place of noise: exactly one of image, images, seeds and x_t."""

    image: Pictures | None = Field(
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
    weight: Weights | None = Field(
        None,
        description="With images or seeds: the share of the second, 0..1; or n of them, of samples "
        "that then have the same noise. null: 0.5.",
    )
    resize: bool = Field(
        False,
        description="Scale pictures of other sizes, and the mask, and cut them in the middle.",
    )


class SampleRequest(RequestBody):
    """What to generate. Every field has a default."""

    n: int = Field(1, ge=1, description="Number of images. `GET /model` has the limit.")
    seed: Seed | None = Field(
        None,
        description="The same seed gives the same bytes. null: the server draws one and names it.",
    )
    first_index: int = Field(
        0, ge=0, le=MAX_INTEGER,
        description="The images are numbers first_index .. first_index + n - 1 of this seed.",
    )  # fmt: skip
    model: ModelName = None
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
    spacing: SpacingOrTimes = Field(
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
    variance: Variance | None = Field(
        None,
        description="ddpm only: sigma_t. null: the checkpoint's, or fixed_small when steps < T.",
    )
    labels: Labels | None = Field(
        None,
        description="Class-conditional checkpoints only: one label for all images, or n of them.",
    )
    guidance: float = Field(
        0.0, ge=0, le=MAX_GUIDANCE, allow_inf_nan=False,
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
