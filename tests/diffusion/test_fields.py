"""Dataclasses from the values of TOML and JSON: a wrong type is named, and the right one told."""

import json
from dataclasses import dataclass, field
from typing import Literal, Self

import pytest

from diffusion.fields import ConfigError, from_dict, require, to_dict


@dataclass(frozen=True)
class Source:
    """A class that a text may stand for."""

    path: str = "here"

    def __post_init__(self) -> None:
        require(bool(self.path), "path", self.path, "a path")

    @classmethod
    def from_text(cls, path: str) -> Self:
        return cls(path)


@dataclass(frozen=True)
class Inner:
    count: int = 1
    is_on: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    source: Source = field(default_factory=Source)
    rate: float = 0.5
    limit: float | None = None
    kind: Literal["round", "square"] = "round"
    size: int | tuple[int, int] = 8
    names: tuple[str, ...] = ()


def test_what_is_written_as_json_is_read_again() -> None:
    made = Outer(Inner(3, True), Source("there"), 2.0, 1.0, "square", (4, 6), ("a", "b"))
    assert from_dict(Outer, json.loads(json.dumps(to_dict(made)))) == made
    assert from_dict(Outer, {}) == Outer()


def test_a_whole_number_is_a_number_too() -> None:
    made = from_dict(Outer, {"rate": 2, "limit": 3})
    assert (type(made.rate), type(made.limit)) == (float, float)


def test_a_text_may_stand_for_a_table() -> None:
    assert from_dict(Outer, {"source": "there"}).source == Source("there")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iner": {}}, "iner: unknown field; known are inner, source, rate"),
        ({"inner": {"cont": 1}}, "inner.cont: unknown field; known are count, is_on"),
        ({"inner": {"count": "9"}}, "inner.count: '9' is not allowed; it must be a whole number$"),
        ({"inner": {"count": True}}, "inner.count: True is not allowed"),
        ({"inner": {"is_on": 1}}, "inner.is_on: 1 is not allowed; it must be true or false$"),
        ({"inner": 3}, "inner: 3 is not allowed; it must be a table$"),
        ({"source": 3}, "source: 3 is not allowed; it must be a text or a table$"),
        ({"source": ""}, "source.path: '' is not allowed; it must be a path"),
        ({"limit": "x"}, "limit: 'x' is not allowed; it must be a number or left out$"),
        ({"kind": "oval"}, "kind: 'oval' is not allowed; it must be one of 'round', 'square'"),
        (
            {"size": [8, 8, 8]},
            r"size: \(8, 8, 8\) is .* be a whole number or \[a whole number, a whole number\]$",
        ),
        ({"names": ["a", 1]}, r"names: \('a', 1\) is not allowed; it must be \[a text, …\]$"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values)


def test_a_requirement_names_field_value_and_what_is_allowed() -> None:
    require(True, "count", 0, "at least 1")
    with pytest.raises(ConfigError, match="^count: 0 is not allowed; it must be at least 1$"):
        require(False, "count", 0, "at least 1")


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        require(False, "blocks", ["DownBlock2D"] * 100_000, "four blocks")
    assert str(caught.value).startswith("blocks: ['DownBlock2D', ")
    assert str(caught.value).endswith("… is not allowed; it must be four blocks")
    assert len(str(caught.value)) < 300


def test_a_whole_number_that_no_float_holds_is_refused() -> None:
    @dataclass(frozen=True)
    class Rate:
        rate: float = 1.0

    with pytest.raises(ConfigError, match="rate: too large for a number with a fraction"):
        from_dict(Rate, {"rate": 10**400})
