"""Where the chains of a request begin, in place of noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.client.pictures import Picture, each, states
from app.client.results import Array, Encoding
from app.client.values import plain


@dataclass(frozen=True)
class Start:
    """Where chains begin; made by one of its class methods. t counts as in the paper: the higher,
    the less is left of a picture.

    `fields` are those of the request's `start`.
    """

    fields: Mapping[str, Any]

    @classmethod
    def image(
        cls, picture: Picture | Sequence[Picture], t: int | None = None, *, resize: bool = False
    ) -> Self:
        """At a picture that is noised to t, or one for each image; None is T, for a request with a
        mask. With `resize` pictures of other sizes are scaled, and cut in the middle."""
        return cls._of(image=each("start.image", picture), t=t, resize=resize)

    @classmethod
    def images(
        cls,
        first: Picture,
        second: Picture,
        t: int,
        weight: float | Sequence[float] | Array = 0.5,
        *,
        resize: bool = False,
    ) -> Self:
        """Between two pictures that are noised to t alike; `weight` is the share of the second, or
        a list with one for each image, which then have the same noise."""
        pair = each("start.images", [first, second])
        return cls._of(images=pair, t=t, weight=weight, resize=resize)

    @classmethod
    def seeds(cls, first: int, second: int, weight: float | Sequence[float] | Array = 0.5) -> Self:
        """Between the noise of two seeds, for samplers that add none; `weight` as in `images`."""
        return cls._of(seeds=[first, second], weight=weight)

    @classmethod
    def x_t(cls, state: Array | Encoding, t: int | None = None) -> Self:
        """At a state float32 (C,H,W), or one for each image (n,C,H,W): of a trajectory, or what
        `Client.encode` gave, which has its t."""
        if isinstance(state, Encoding):
            return cls._of(x_t=states("start.x_t", state.x_t), t=state.t if t is None else t)
        return cls._of(x_t=states("start.x_t", state), t=t)

    @classmethod
    def _of(cls, **fields: Any) -> Self:
        given = {name: plain(f"start.{name}", value) for name, value in fields.items()}
        if given.get("resize") is False:
            del given["resize"]
        return cls({name: value for name, value in given.items() if value is not None})
