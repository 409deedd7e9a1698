"""From a request of OpenAI's images API to one of ours, and from images to its answer."""

import base64
import re
import time
from functools import partial

import numpy as np

from app.generation import cost
from app.generation.collect import Result
from app.generation.encoding import Encoded, to_json
from app.generation.errors import AnswerTooLarge, InvalidField
from app.generation.formats import IMAGES, Format
from app.generation.png import png
from app.generation.schemas.openai import ImagesRequest
from app.wire.model_info import ModelInfo

SIZE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)
MAX_SIDE = 4096
"""Pixels of a side, at most."""
SHOWN_CLASSES = 20
"""Classes that a message names, at most."""


def with_label(request: ImagesRequest, model: ModelInfo) -> ImagesRequest:
    """The request with the label that its prompt means. Raises InvalidField."""
    label = label_of(request.prompt, model)
    if label is None:
        if model.classes and model.null_label is None and request.labels is None:
            raise InvalidField("prompt", request.prompt, f"it must be {_told(model)}")
        return request
    if request.labels is not None:
        raise InvalidField("labels", request.labels, "the prompt says the class: give one of them")
    return request.model_copy(update={"labels": label})


def label_of(prompt: str, model: ModelInfo) -> int | None:
    """The label of a class by its name, however it is capitalised, or else its number; None for an
    empty prompt. Raises InvalidField."""
    wanted = prompt.strip().casefold()
    if not wanted:
        return None
    names = [name.strip().casefold() for name in model.classes]
    if wanted in names:
        return names.index(wanted)
    if wanted.isascii() and wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    if not names:
        reason = f"the model {model.name} has no classes, so the prompt must be empty"
    else:
        reason = f"it must be {_told(model)}" + ("" if model.null_label is None else ", or empty")
    raise InvalidField("prompt", prompt, reason)


def _told(model: ModelInfo) -> str:
    names = ", ".join(model.classes[:SHOWN_CLASSES])
    more = len(model.classes) - SHOWN_CLASSES
    return f"a class by name or number: {names}" + (f" and {more} more" if more > 0 else "")


def scale_of(size: str, model: ModelInfo) -> int:
    """How many times a pixel is repeated in each direction. Raises InvalidField."""
    _, H, W = model.image_shape
    if size == "auto":
        return 1
    match = SIZE.fullmatch(size)
    if match is not None:
        width, height = map(int, match.groups())
        scale = width // W
        if (width, height) == (scale * W, scale * H) and max(width, height) <= MAX_SIDE:
            return scale
    most = MAX_SIDE // max(H, W)
    reason = f"it must be auto or {W}x{H}, times 1..{max(1, most)}"
    raise InvalidField("size", size, reason)


def check_size(n: int, scale: int, model: ModelInfo, limit: int) -> None:
    """Raise AnswerTooLarge where the pixels of all images take more bytes than an answer may."""
    C, H, W = model.image_shape
    size = n * C * H * W * scale**2
    if size > limit:
        raise AnswerTooLarge(
            f"the answer would take {size} bytes ({n} pictures of {W * scale}x{H * scale}); this "
            f"server's limit is {limit}: ask for fewer images or a smaller size"
        )


def format_of(scale: int) -> Format:
    """The answer's format: images of `scale` times the model's size."""
    return Format(
        IMAGES, partial(encode, scale=scale), partial(cost.scaled_json, scale=scale),
        variant=f"; openai; scale={scale}",
    )  # fmt: skip


def encode(result: Result, scale: int) -> Encoded:
    """Encode the images as an `ImagesResponse`."""
    plan = result.plan
    _, H, W = plan.image_shape
    header = {**plan.header, "created": int(time.time()), "size": f"{W * scale}x{H * scale}"}
    blocks = [to_json({**header, "timing": result.timing})[:-1] + b',"data":[']
    separator = b""
    for index, label, image in zip(plan.submit.indices, plan.labels, result.x_0, strict=True):
        content = base64.b64encode(png(larger(image, scale))).decode()
        blocks.append(separator + to_json({"b64_json": content, "index": index, "label": label}))
        separator = b","
    blocks.append(b"]}")
    return Encoded(sum(map(len, blocks)), blocks)


def larger(image: np.ndarray, scale: int) -> np.ndarray:
    """An image (H,W,C) with each pixel repeated: its nearest neighbour, `scale` times as large."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)
