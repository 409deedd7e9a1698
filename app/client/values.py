"""What requests hold, as JSON carries it."""

import math
from collections.abc import Sequence
from typing import Any

SHOWN = 80
"""How many characters of a wrong value an error shows."""


def plain(name: str, value: Any) -> Any:
    """Turn the numbers and arrays of NumPy and PyTorch, ranges and tuples into numbers and lists,
    which JSON can carry. The server checks the values.

    Raises ValueError, which names the field, for what is neither.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise refused(name, value, "it must be a finite number")
    if isinstance(value, str | int | float | None):
        return value
    if hasattr(value, "tolist"):
        return plain(name, value.tolist())
    if isinstance(value, Sequence):
        return [plain(name, entry) for entry in value]
    raise refused(name, value, "it must be a number, a text, or a list or array of numbers")


def refused(name: str, value: object, reason: str) -> ValueError:
    """The error for a field's value; an array is shown by its kind, not by its numbers."""
    shown = repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shown = f"{value.dtype} of shape {tuple(value.shape)}"
    if len(shown) > SHOWN:
        shown = shown[:SHOWN] + "…"
    return ValueError(f"{name}: {shown} is not allowed: {reason}")
