"""The formats of an answer that is made as a whole: by media type, what each is made of, how, and
what it takes of memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.generation import cost, encoding
from app.generation.collect import Needs, Result
from app.generation.encoding import Encoded
from app.generation.plan import Plan

IMAGES = Needs(x_0=True)
STATES = Needs(x_t=True)
PICTURES = Needs(x_t=True, x_0_hat=True)
EXACT_STATES = Needs(x_t=True, exact=True)
ARRAYS = Needs(x_t=True, x_0_hat=True, exact=True)


@dataclass(frozen=True)
class Format:
    """`encode` makes the body, off the event loop; `cost` is what gathering, encoding and sending
    it take of memory at once, in bytes. `variant` tells it from others of its media type."""

    needs: Needs
    encode: Callable[[Result], Encoded]
    cost: Callable[[Plan], int]
    variant: str = ""


Formats = Mapping[str, Format]
SAMPLE: Formats = {
    "application/json": Format(IMAGES, encoding.sample_json, cost.sample_json),
    "image/png": Format(IMAGES, encoding.sample_png, cost.sample_png),
    "application/zip": Format(IMAGES, encoding.sample_zip, cost.sample_zip),
    "application/x-npz": Format(IMAGES, encoding.sample_npz, cost.sample_npz),
}
TRAJECTORY: Formats = {
    "application/json": Format(PICTURES, encoding.trajectory_json, cost.trajectory_json),
    "image/png": Format(STATES, encoding.film_strip, cost.film_strip),
    "image/gif": Format(STATES, encoding.trajectory_gif, cost.trajectory_gif),
    "image/webp": Format(STATES, encoding.trajectory_webp, cost.trajectory_webp),
    "image/apng": Format(STATES, encoding.trajectory_apng, cost.trajectory_apng),
    "application/x-npz": Format(ARRAYS, encoding.trajectory_npz, cost.trajectory_npz),
}
ENCODE: Formats = {
    "application/json": Format(EXACT_STATES, encoding.encode_json, cost.encode_json),
    "application/x-npz": Format(EXACT_STATES, encoding.encode_npz, cost.encode_npz),
}
