"""What to ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """`n` images of a seed. None leaves a field out, and the server's default holds: a seed of its
    own, which the result names; all steps for ddpm, 50 for ddim, 20 for dpmpp; the checkpoint's
    variance.

    `labels`: one for all, or `n` of them, of class-conditional models. `eta` is for ddim alone and
    `variance` for ddpm alone. The server checks the values: InvalidRequest names the field.
    """

    n: int = 1
    seed: int | None = None
    first_index: int = 0
    sampler: Literal["ddpm", "ddim", "dpmpp"] = "ddpm"
    steps: int | None = None
    eta: float | None = None
    variance: Literal["fixed_small", "fixed_large"] | None = None
    labels: int | Sequence[int] | None = None
    guidance: float = 0.0

    def body(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TrajectoryRequest(SampleRequest):
    """Images, and the states on their way from noise: `frames` of them, evenly spaced (11), or at
    the `timesteps` named, counted as in the paper: T is noise, 0 the image."""

    frames: int | None = None
    timesteps: Sequence[int] | None = None


def _plain(value: Any) -> Any:
    """What JSON can carry: NumPy's numbers and arrays, ranges and tuples as Python's and lists.
    Whether the values are right is for the server to say."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
