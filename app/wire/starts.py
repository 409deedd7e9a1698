"""Where the chains of a job begin that do not begin at noise, and what they keep of a picture.

Pictures and masks are raw uint8 (C,H,W), states raw little-endian float32 (C,H,W).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

T = TypeVar("T")

StartKind = Literal["image", "images", "seeds", "x_t"]
"""At a noised picture, between two of them, between the x_T of two seeds, at a state."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where chains begin, at the t of their first step.

    `pictures` are one for all samples or one for each; between two, these two. So are `states` and
    `weights`, which are those of the second picture or seed. Chains that share their noise have
    that of index 0. `mask` (1,H,W): 255 is made anew, 0 is kept, and every part of the chain is
    made `resamplings` times, with jumps of `jump` steps (RePaint).
    """

    # As JSON, in which jobs are kept, its bytes are base64
    __pydantic_config__: ClassVar[dict[str, str]] = {
        "ser_json_bytes": "base64",
        "val_json_bytes": "base64",
    }

    kind: StartKind
    pictures: tuple[bytes, ...] = ()
    states: tuple[bytes, ...] = ()
    seeds: tuple[int, int] | None = None
    weights: tuple[float, ...] = ()
    shares_noise: bool = False
    mask: bytes | None = None
    resamplings: int = 1
    jump: int = 10

    def only(self, places: Sequence[int]) -> "Start":
        """The start of some of the samples alone: those at these places."""
        one_each = len(self.pictures) > 1 and self.kind == "image"
        return replace(
            self,
            pictures=_part(self.pictures, places) if one_each else self.pictures,
            states=_part(self.states, places),
            weights=_part(self.weights, places),
        )

    @property
    def size(self) -> int:
        """Bytes of its pictures and states."""
        return sum(map(len, (*self.pictures, *self.states, self.mask or b"")))


def _part(given: tuple[T, ...], places: Sequence[int]) -> tuple[T, ...]:
    return tuple(given[place] for place in places) if len(given) > 1 else given
