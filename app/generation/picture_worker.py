"""Decodes what clients send, in a process of its own: a hostile file costs that its memory and its
time, and not the server's.

Started by `pictures` as `python -m app.generation.picture_worker`. On stdin comes one task after
another, on stdout goes an answer to each; both are msgpack maps with their length first. It ends
when stdin closes.
"""

import base64
import binascii
import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from app.generation.errors import Refusal
from app.wire.codec import HEADER
from diffusion.data.model_image import WrongSize, model_image
from diffusion.data.picture import Accepted, PictureError, TooLarge, UnknownFormat
from diffusion.state_file import StateFileError, TooManyBytes, read_states

ACCEPTED = Accepted(("PNG", "JPEG", "WEBP", "GIF"), max_side=4096)
MAX_FILE_BYTES = 4 << 20
"""Bytes of a picture's file, at most."""
MEMORY_BYTES = 768 << 20
"""Memory that decoding takes, at most: 4096 x 4096 pixels with transparency need most of it."""
NOT_BASE64 = (
    "it is not base64 (RFC 4648, section 4): with its padding, on one line, and without the "
    "beginning of a data URL"
)
ADDRESS_SPACE = re.compile(r"^VmSize:\s+(\d+) kB$", re.MULTILINE)


class Unusable(ValueError):
    """What a client sent is of no use; the message is the reason."""

    def __init__(self, reason: str, refusal: Refusal = "unusable") -> None:
        super().__init__(reason)
        self.refusal = refusal


def main() -> None:
    """Answer tasks until stdin closes."""
    limit_memory(MEMORY_BYTES)
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := tasks.read(HEADER.size):
        (size,) = HEADER.unpack(header)
        content = msgpack.packb(answer(msgpack.unpackb(tasks.read(size))))
        answers.write(HEADER.pack(len(content)) + content)
        answers.flush()


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, where the system can limit that."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/status") as status:
        has = ADDRESS_SPACE.search(status.read())
    if has is not None:
        limit = int(has[1]) * 1024 + more
        with contextlib.suppress(ValueError):  # somebody has set a lower one
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a task made: an array's bytes and shape, or the reason why not, and the `refusal`."""
    work = WORK[task["kind"]]
    try:
        return work(task)
    except MemoryError:
        return {"reason": "it takes too much memory", "refusal": "out_of_memory"}
    except Unusable as error:
        return {"reason": str(error), "refusal": error.refusal}


def picture(task: Mapping[str, Any]) -> dict[str, Any]:
    """A picture as an image of a model, uint8 (C,H,W). Raises Unusable."""
    raw = decoded(task["text"])
    if len(raw) > MAX_FILE_BYTES:
        reason = f"it has {len(raw)} bytes; at most {MAX_FILE_BYTES} are allowed"
        raise Unusable(reason, "too_large")
    shape, resize = task["shape"], task["resize"]
    try:
        image = model_image(raw, tuple(shape), resize=resize, accepted=ACCEPTED)
    except WrongSize as error:
        raise Unusable(f'{error}; "resize": true scales it', "wrong_size") from error
    except UnknownFormat as error:
        reason = f"{error}; PNG, JPEG, WebP and GIF are allowed"
        raise Unusable(reason, "unknown_format") from error
    except TooLarge as error:
        raise Unusable(str(error), "too_large") from error
    except PictureError as error:
        raise Unusable(str(error)) from error
    return {"array": image.tobytes(), "shape": image.shape}


def states(task: Mapping[str, Any]) -> dict[str, Any]:
    """States of a file, float32 (n,C,H,W), and their t. Raises Unusable."""
    try:
        x_t, t = read_states(io.BytesIO(decoded(task["text"])), task["t"], task["max_bytes"])
    except TooManyBytes as error:
        raise Unusable(str(error), "too_large") from error
    except StateFileError as error:
        raise Unusable(str(error)) from error
    return {"array": x_t.astype("<f4").tobytes(), "shape": x_t.shape, "t": t}


def decoded(text: str) -> bytes:
    """The bytes of a text in base64. Raises Unusable."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unusable(NOT_BASE64, "not_base64") from error


WORK: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "picture": picture,
    "states": states,
}

if __name__ == "__main__":
    main()
