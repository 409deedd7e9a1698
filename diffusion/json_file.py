"""Reading the JSON files of strangers: whatever they hold costs little time and memory.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffusion.fields import ConfigError

MAX_BYTES = 4 << 20
"""Of a file; a table of 100,000 betas has about half of it."""
MAX_LISTS = 10_000
"""Lists and objects in a file; a million of them take seconds and hundreds of MiB."""
MAX_DEPTH = 16
"""Of lists and objects in one another."""
MAX_INTEGER = 2**63 - 1
"""What a message to another process carries."""


def read_text(path: Path) -> str:
    """The text of a file. Raises FileNotFoundError where there is none, ConfigError with the reason
    where it cannot be read, is no regular file (a pipe would be waited for, a device never ends),
    is too large or not UTF-8."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError("not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(str(error.strerror)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"too large: more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not text in UTF-8: {error}") from error


def read_object(path: Path, unread: Collection[str] = ()) -> dict[str, Any]:
    """The JSON object in a file. Raises as `read_text` does, and ConfigError, which names the
    field, for what is not JSON or cannot be passed on: deep nesting, numbers that are not finite or
    whose digits do not fit 64 bits, half a surrogate pair. The values of fields that nobody reads,
    `unread`, are not looked at."""
    text = read_text(path)
    if text.count("[") + text.count("{") > MAX_LISTS:
        raise ConfigError(f"more than {MAX_LISTS} lists and objects")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError("not a JSON object")
    for name, value in values.items():
        reason = _fault(name, 1) or (None if name in unread else _fault(value, 1))
        if reason is not None:
            raise ConfigError(f"{_shown(name)}: {reason}")
    return values


def _fault(value: Any, depth: int) -> str | None:
    """Why a value cannot be passed on, if it cannot."""
    if depth > MAX_DEPTH:
        return f"lists and objects in one another, more than {MAX_DEPTH} deep"
    if isinstance(value, list):
        return next(filter(None, (_fault(item, depth + 1) for item in value)), None)
    if isinstance(value, dict):
        return _fault([*value.keys(), *value.values()], depth)
    return _fault_of_plain(value)


def _fault_of_plain(value: Any) -> str | None:
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return "a whole number that does not fit 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, str) and _shown(value) != value:
        return "half a surrogate pair, which no text can hold"
    return None


def _shown(text: str) -> str:
    """A text as UTF-8 can carry it."""
    return text.encode(errors="replace").decode()
