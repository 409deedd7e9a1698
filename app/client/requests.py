"""The requests that a client can send."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from app.client.pictures import Picture, each, mask_of
from app.client.starts import Start
from app.client.values import plain, refused


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Asks for `n` images of a seed.

    A field that is None is left out, and the server's default applies: a seed that the server draws
    and the result names; all steps for ddpm, 50 for ddim, 20 for the others; the checkpoint's
    variance.

    `spacing` says which timesteps are kept, even unless given; tuned is the list that the model's
    card has for this sampler and number of steps. A list of t, counted as in the paper and falling
    from T, stands instead of `steps`.

    `guidance_interval` is [t_high, t_low]: guidance applies at these t alone, and elsewhere a step
    costs half.

    `model` is one of the names that `Client.models` gives; None: the server's first.

    `start` says where the chains begin in place of noise (`Start.image` and others). Of its picture
    a `mask`, itself a picture, keeps what is black; what is white is made anew, every part of the
    chain `resamplings` times, with jumps of `jump` steps (RePaint).

    `labels` is for class-conditional models: one label for all images, or `n` of them. `eta` is for
    ddim only, `variance` for ddpm only. The server checks the values: InvalidRequest names the
    field.
    """

    n: int = 1
    seed: int | None = None
    first_index: int = 0
    model: str | None = None
    sampler: Literal["ddpm", "ddim", "dpmpp", "unipc", "ipndm"] = "ddpm"
    steps: int | None = None
    spacing: Literal["even", "quadratic", "log_snr", "karras", "tuned"] | Sequence[int] | None = (
        None
    )
    eta: float | None = None
    variance: Literal["fixed_small", "fixed_large"] | None = None
    labels: int | Sequence[int] | None = None
    guidance: float = 0.0
    guidance_interval: Sequence[int] | None = None
    start: Start | None = None
    mask: Picture | None = None
    resamplings: int | None = None
    jump: int | None = None

    def body(self) -> dict[str, Any]:
        """Build the JSON object to send, without the fields that are None. Raises ValueError for a
        value that JSON cannot carry, and OSError for a picture that cannot be read."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.start is not None and not isinstance(self.start, Start):
            reason = "it must be made by Start.image, Start.images, Start.seeds or Start.x_t"
            raise refused("start", self.start, reason)
        pictures = {"start": self.start and dict(self.start.fields), "mask": self.mask}
        if self.mask is not None:
            pictures["mask"] = mask_of("mask", self.mask)
        return {
            name: pictures[name] if name in pictures else plain(name, value)
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, kw_only=True)
class TrajectoryRequest(SampleRequest):
    """Asks for images and for states on their way from noise.

    Either `frames` says how many, evenly spaced (11 if neither is given), or `timesteps` lists the
    t of each, counted as in the paper: T is noise, 0 is the image.
    """

    frames: int | None = None
    timesteps: Sequence[int] | None = None


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """Asks for the x_t from which DDIM makes pictures again.

    `image` is a picture, or several; `labels` are theirs, one for all or one each. `steps` are
    those of DDIM on the way back, and t, None for T, is how far they go up. With `resize` pictures
    of other sizes are scaled, and cut in the middle.
    """

    image: Picture | Sequence[Picture]
    labels: int | Sequence[int] | None = None
    steps: int = 50
    t: int | None = None
    resize: bool = False
    model: str | None = None

    def body(self) -> dict[str, Any]:
        """Build the JSON object to send. Raises as `SampleRequest.body` does."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        del given["image"]
        others = {name: plain(name, value) for name, value in given.items() if value is not None}
        return {"image": each("image", self.image), **others}


TAKEN = {
    "sample": "a SampleRequest; `trajectory` and `stream` take a TrajectoryRequest",
    "trajectory": "a TrajectoryRequest",
    "stream": "a TrajectoryRequest",
    "submit": "a SampleRequest or a TrajectoryRequest",
}
"""What each method of a client takes."""


def check_request(request: object, method: str) -> None:
    """Raise ValueError where the client's `method` does not take the request."""
    is_trajectory = isinstance(request, TrajectoryRequest)
    if method == "submit":
        fits = isinstance(request, SampleRequest)
    elif method == "sample":
        fits = isinstance(request, SampleRequest) and not is_trajectory
    else:
        fits = is_trajectory
    if not fits:
        raise refused("request", request, f"{method} takes {TAKEN[method]}")


ONE = SampleRequest()
ONE_TRAJECTORY = TrajectoryRequest()
"""What is asked for where no request is given."""
