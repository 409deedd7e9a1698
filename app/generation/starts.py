"""Where a request's chains begin, and what they keep of a picture: its fields checked, and decoded.

What `ddpm sample` does with the same flags, `diffusion.editing`, is the same.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.generation.errors import InvalidField
from app.generation.pictures import Array, Pictures, Sent
from app.generation.png import png
from app.generation.schemas.requests import SampleRequest, Start
from app.wire import starts as wire
from app.wire.model_info import ModelInfo
from diffusion.spacing import Spacing

KINDS: tuple[wire.StartKind, ...] = ("image", "images", "seeds", "x_t")
MASKED = ("ddpm", "ddim")
"""The samplers that fill in a mask: the others remember steps before a jump back."""
HALFWAY = 0.5
MAX_SEED = 2**53 - 1


@dataclass(frozen=True)
class Begun:
    """A start that can be carried out: what the engine is told of it, and the paper's t at which it
    is asked for."""

    start: wire.Start
    t: int | None

    def spacing(self, whole: Spacing) -> Spacing:
        """Keep of a chain's timesteps those that it takes from here. Raises InvalidField."""
        if self.t is None:
            return whole
        try:
            exactly = self.start.kind == "x_t"
            return whole.beginning_at(self.t) if exactly else whole.up_to(self.t)
        except ValueError as error:
            raise InvalidField("start.t", self.t, str(error)) from None


async def read_start(request: SampleRequest, model: ModelInfo, pictures: Pictures) -> Begun | None:
    """Where the request's chains begin; None: at noise. Raises InvalidField or PicturesBusy."""
    start = request.start
    _check_mask(request)
    if start is None:
        return None
    kind = _check_start(request, start, model)
    images = await pictures.images(_sent(start, kind), model.image_shape, resize=start.resize)
    mask = await _read_mask(request, start, model, pictures)
    states, t = await _read_states(request, start, model, pictures)
    weight = HALFWAY if start.weight is None else start.weight
    has_weight = kind in ("images", "seeds")
    return Begun(
        wire.Start(
            kind=kind,
            pictures=tuple(image.tobytes() for image in images),
            states=states,
            seeds=None if start.seeds is None else (start.seeds[0], start.seeds[1]),
            weights=tuple(_weights(weight)) if has_weight else (),
            shares_noise=isinstance(weight, list) and has_weight,
            mask=mask,
            resamplings=request.resamplings,
            jump=request.jump,
        ),
        t,
    )


async def _read_mask(
    request: SampleRequest, start: Start, model: ModelInfo, pictures: Pictures
) -> bytes | None:
    """The mask as grey pixels; None: there is none."""
    if request.mask is None:
        return None
    sent, (_, H, W) = [Sent("mask", request.mask)], model.image_shape
    (grey,) = await pictures.images(sent, (1, H, W), resize=start.resize)
    return grey.tobytes()


async def _read_states(
    request: SampleRequest, start: Start, model: ModelInfo, pictures: Pictures
) -> tuple[tuple[bytes, ...], int | None]:
    """The states of `x_t`, if the start has them, and the t at which chains begin: the one that is
    asked for, or what the states' file says."""
    if start.x_t is None:
        return (), start.t
    read, T = await pictures.states(Sent("start.x_t", start.x_t), start.t), model.num_timesteps
    _check_states(read.x_t, request.n, model.image_shape)
    if start.t is None and read.t is not None and not 1 <= read.t <= T:
        raise InvalidField("start.x_t", read.t, f"its t must be 1..{T}")
    return tuple(state.tobytes() for state in read.x_t), read.t


def decoded_bytes(request: SampleRequest, model: ModelInfo) -> int:
    """About how many bytes the start's pictures and states take, sent and decoded."""
    if request.start is None:
        return 0
    C, H, W = model.image_shape
    pictures = len(_listed(request.start.image or request.start.images or []))
    texts = len(request.start.x_t or "") + len(request.mask or "")
    return pictures * C * H * W + H * W + texts


def told(start: wire.Start, t: int | None, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The fields of a request that has this start: pictures as PNG of the model's size."""
    _, H, W = shape
    fields: dict[str, Any] = {}
    texts = [_png(picture, shape) for picture in start.pictures]
    match start.kind:
        case "image":
            fields["image"] = texts[0] if len(texts) == 1 else texts
        case "images":
            fields["images"] = texts
        case "seeds":
            fields["seeds"] = list(start.seeds or ())
        case "x_t":
            fields["x_t"] = _npy(start.states, shape)
    if start.weights:
        fields["weight"] = list(start.weights) if start.shares_noise else start.weights[0]
    if t is not None:
        fields["t"] = t
    if start.mask is None:
        return {"start": fields}
    filled = {"resamplings": start.resamplings, "jump": start.jump}
    return {"start": fields, "mask": _png(start.mask, (1, H, W)), **filled}


def _png(raw: bytes, shape: tuple[int, int, int]) -> str:
    image = np.moveaxis(np.frombuffer(raw, np.uint8).reshape(shape), 0, -1)
    return base64.b64encode(png(image)).decode()


def _npy(states: Sequence[bytes], shape: tuple[int, int, int]) -> str:
    file = io.BytesIO()
    np.save(file, np.frombuffer(b"".join(states), "<f4").reshape(len(states), *shape))
    return base64.b64encode(file.getvalue()).decode()


def _check_start(request: SampleRequest, start: Start, model: ModelInfo) -> wire.StartKind:
    """The kind of a start whose fields fit each other, the model and the rest of the request.
    Raises InvalidField."""
    given = [kind for kind in KINDS if getattr(start, kind) is not None]
    if len(given) != 1:
        reason = f"give exactly one of {', '.join(KINDS)}"
        raise InvalidField("start", given, reason)
    (kind,) = given
    T = model.num_timesteps
    if start.t is not None and start.t > T:
        raise InvalidField("start.t", start.t, f"this model has T = {T}, so it must be 1..{T}")
    if start.t is not None and kind == "seeds":
        raise InvalidField("start.t", start.t, "between two seeds chains begin at T")
    needs_t = kind == "images" or (kind == "image" and request.mask is None)
    if start.t is None and needs_t:
        also = "without a mask " if kind == "image" else ""
        reason = f"{also}it must say how far pictures are noised, 1..{T}"
        raise InvalidField("start.t", None, reason)
    if start.resize and kind in ("seeds", "x_t"):
        raise InvalidField("start.resize", True, "it applies to pictures")
    if start.weight is not None and kind not in ("images", "seeds"):
        raise InvalidField("start.weight", start.weight, "it needs start.images or start.seeds")
    _check_count("start.weight", start.weight, request.n)
    _check_count("start.image", start.image, request.n)
    if start.seeds is not None:
        _check_seeds(request, start.seeds)
    return kind


def _check_seeds(request: SampleRequest, seeds: Sequence[int]) -> None:
    if max(seeds) > MAX_SEED:
        raise InvalidField("start.seeds", list(seeds), f"they must be 0..{MAX_SEED}")
    if request.sampler == "ddpm" or request.eta:
        reason = "they need a sampler without noise: ddim with eta 0, dpmpp, unipc or ipndm"
        raise InvalidField("start.seeds", list(seeds), reason)


def _check_mask(request: SampleRequest) -> None:
    """Raise InvalidField for a mask without a picture, or that the sampler does not fill in, and
    for what says how to fill in none."""
    if request.mask is None:
        for name, default in (("resamplings", 1), ("jump", 10)):
            if getattr(request, name) != default:
                raise InvalidField(name, getattr(request, name), "it needs a mask")
        return
    if request.start is None or request.start.image is None:
        reason = "it keeps a part of start.image, which is not given"
        raise InvalidField("mask", request.mask, reason)
    if request.sampler not in MASKED:
        reason = f"it applies to ddpm and ddim, not to {request.sampler}"
        raise InvalidField("mask", request.mask, reason)


def _check_count(name: str, given: object, n: int) -> None:
    if isinstance(given, list) and len(given) != n:
        raise InvalidField(name, len(given), f"give one, or one for each of the n = {n} images")


def _check_states(x_t: Array, n: int, shape: tuple[int, int, int]) -> None:
    if x_t.shape[1:] != shape:
        reason = f"for this model the states must be {list(shape)} each"
        raise InvalidField("start.x_t", list(x_t.shape), reason)
    if len(x_t) not in (1, n):
        reason = f"give one state, or one for each of the n = {n} images"
        raise InvalidField("start.x_t", len(x_t), reason)


def _sent(start: Start, kind: wire.StartKind) -> list[Sent]:
    """The pictures, with the name of each."""
    given = start.images if kind == "images" else start.image
    return Sent.each(f"start.{kind}", given or [])


def _weights(weight: float | Sequence[float]) -> list[float]:
    return [float(weight)] if isinstance(weight, int | float) else [float(w) for w in weight]


def _listed(given: object) -> list[object]:
    return given if isinstance(given, list) else [given]
