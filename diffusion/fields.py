"""Dataclasses made of the values of TOML and JSON, each field checked against its type.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

import builtins
import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "a table",
    types.NoneType: "left out",
}
"""What a field of a plain type may hold."""
MAX_SHOWN = 200
"""Characters of a wrong value in a message."""


class ConfigError(ValueError):
    """A configuration has a wrong, missing or unknown value; the message names the field."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise ConfigError("name: value is not allowed; it must be …") unless `condition`."""
    if not condition:
        shown = repr(value)
        if len(shown) > MAX_SHOWN:
            shown = shown[: MAX_SHOWN - 1] + "…"
        raise ConfigError(f"{name}: {shown} is not allowed; it must be {allowed}")


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config dataclass to JSON types, from which `from_dict` makes it again."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: dict[str, Any]) -> T:
    """Make a config dataclass, and those nested in it; lists become tuples.

    Where a class has a `from_text`, a text may stand for it. Raises ConfigError on an unknown
    field or a value of the wrong type.
    """
    hints = _hints(typing.cast(Any, cls))
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown field; known are {', '.join(hints)}")
    return cls(**{name: _convert(name, hints[name], value) for name, value in values.items()})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The declared type of each field; engines' messages ask for the same ones again and again."""
    return typing.get_type_hints(cls)


def _convert(name: str, hint: Any, value: Any) -> Any:
    if isinstance(value, dict):  # of a dataclass that may be left out
        hint = next(filter(dataclasses.is_dataclass, typing.get_args(hint)), hint)
    try:
        if isinstance(value, str) and hasattr(hint, "from_text"):
            return hint.from_text(value)
        if dataclasses.is_dataclass(hint) and isinstance(value, dict):
            return from_dict(typing.cast(type, hint), value)
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from error
    if isinstance(value, list):
        value = tuple(value)
    require(_matches(hint, value), name, value, _describe(hint))
    if hint not in (float, float | None) or value is None:
        return value
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        raise ConfigError(f"{name}: too large for a number with a fraction") from None


def _matches(hint: Any, value: Any) -> bool:
    """Is `value`, of JSON or TOML with tuples for lists, of the type that a field declares?"""
    options = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType | typing.Union:
            return any(_matches(option, value) for option in options)
        case typing.Literal:
            return value in options
        case builtins.tuple:
            return isinstance(value, tuple) and _matches_tuple(options, value)
        case builtins.dict:
            return isinstance(value, dict)
    return _matches_plain(hint, value)


def _matches_tuple(items: tuple[Any, ...], value: tuple[Any, ...]) -> bool:
    """Is `value` a tuple[items]? All items are of one type; with an ellipsis any number of them."""
    if items[-1] is not ... and len(value) != len(items):
        return False
    return all(_matches(items[0], item) for item in value)


def _matches_plain(hint: Any, value: Any) -> bool:
    if hint in (None, types.NoneType):
        return value is None
    if isinstance(value, bool):  # which Python takes for an int
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _describe(hint: Any) -> str:
    """The values that a type stands for, in words."""
    options = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType | typing.Union:
            return " or ".join(
                _describe(o) for o in options if o is not int or float not in options
            )
        case typing.Literal:
            return "one of " + ", ".join(map(repr, options))
        case builtins.tuple:
            items = ["…" if option is ... else _describe(option) for option in options]
            return f"[{', '.join(items)}]"
    if dataclasses.is_dataclass(hint):
        return "a text or a table" if hasattr(hint, "from_text") else "a table"
    return WORDS.get(typing.get_origin(hint) or hint, str(hint))
