"""JSON, read strictly."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.http.strict_json import MAX_DEPTH, MAX_PARTS, loads

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
repeatable = settings(derandomize=True, database=None, deadline=None)


@repeatable
@given(value=VALUES)
def test_what_json_can_say_is_read_as_it_was_written(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@repeatable
@given(body=st.binary())
@example(body=b"\xff")
@example(body=b"[" * 100_000)
@example(body=b"9" * 5_000)
def test_whatever_the_bytes_they_are_read_or_refused(body: bytes) -> None:
    try:
        loads(body)
    except json.JSONDecodeError as error:
        assert error.msg and len(error.msg) < 200


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_the_depth_is_limited(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    assert loads(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH)
    with pytest.raises(json.JSONDecodeError, match="nested too deeply"):
        loads(opening * (MAX_DEPTH + 1) + b"1" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize("part", [b"[]", b"{}", b'{"a":1}'])
def test_the_number_of_lists_and_objects_is_limited(part: bytes) -> None:
    assert loads(b"[" + b",".join([part] * (MAX_PARTS - 1)) + b"]")
    with pytest.raises(json.JSONDecodeError, match="more than 64 lists and objects"):
        loads(b"[" + b",".join([part] * MAX_PARTS) + b"]")


def test_the_number_of_names_is_limited_and_more_are_not_even_read() -> None:
    names = [b'"x%d":1' % i for i in range(MAX_PARTS)]
    assert len(loads(b"{" + b",".join(names) + b"}")) == MAX_PARTS
    with pytest.raises(json.JSONDecodeError, match="more than 64 names"):
        loads(b"{" + b",".join([*names, b'"one more":?']))


def test_a_name_may_come_again_in_another_object() -> None:
    assert loads(b'{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}')
    with pytest.raises(json.JSONDecodeError, match='the name "a" appears twice'):
        loads(b'[{"b": {"a": 1, "\\u0061": 2}}]')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1),
        ("1e0", 1),
        ("-3.0", -3),
        ("25E-1", 2.5),
        ("9007199254740991.0", 2**53 - 1),
        ("[1.0, [2.0]]", [1, [2]]),
        ('{"n": 1.0}', {"n": 1}),
    ],
)
def test_a_number_without_a_fraction_is_an_integer(text: str, value: object) -> None:
    read = loads(text.encode())
    assert repr(read) == repr(value)


@pytest.mark.parametrize("text", ["1.5", "1e300", "18014398509481984.0"])
def test_what_is_no_integer_or_not_an_exact_one_stays_a_float(text: str) -> None:
    assert isinstance(loads(text.encode()), float)
