"""Bodies that are no request: refused with a problem that says why, whatever they are."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.raw_http import Answer, ask, request
from tests.app.server import Server

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    "n seed first_index sampler steps eta variance labels guidance frames timesteps other".split()
)


def post(server: Server, body: bytes, path: str = "/sample") -> Answer:
    return ask(server, request("POST", path, body))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "body: not JSON"),
        (b'{"n": NaN}', "body: not JSON: NaN is not a number in JSON"),
        (b'{"eta": -Infinity}', "body: not JSON: -Infinity is not a number in JSON"),
        (b'{"eta": 1e400}', "body: not JSON: 1e400 is out of range"),
        (b'{"n": 1, "seed": 2, "n": 2}', 'body: not JSON: the name "n" appears twice in an object'),
        (b'{"n": "\xff"}', "body: not JSON: not UTF-8"),
        ('{"n": 1}'.encode("utf-16"), "body: not JSON: not UTF-8"),
        (b"[" * 100_000, "body: not JSON: nested too deeply"),
        (b'{"n":' * 100 + b"1" + b"}" * 100, "body: not JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "body: not JSON"),
        (b'{"n": ' + b"9" * 4000 + b"}", "n: 9999999"),
        (b"[1]", "body: "),
        (b'"n"', "body: "),
        (b"null", "body: "),
    ],
)
def test_what_is_not_json_says_where(server: Server, body: bytes, detail: str) -> None:
    assert post(server, body).problem(422)["detail"].startswith(detail)


def test_a_byte_order_mark_is_no_part_of_json(server: Server) -> None:
    assert post(server, b'\xef\xbb\xbf{"steps": 1}').problem(422)


@pytest.mark.parametrize(
    "body", [rb'{"sampler": "\ud800"}', rb'{"\ud800": 1}', rb'{"n": ["\udfff"]}']
)
def test_half_a_surrogate_pair_is_refused_in_utf_8(server: Server, body: bytes) -> None:
    post(server, body).problem(422)


@pytest.mark.parametrize(
    "body",
    [
        b'{"labels": [' + b"-1," * 80_000 + b"0]}",
        b'{"labels": [' + b"{}," * 80_000 + b"0]}",
        b'{"sampler": "' + b"x" * 250_000 + b'"}',
        b"{" + b",".join(b'"x%d": 1' % i for i in range(15_000)) + b"}",
        b'{"' + b"x" * 250_000 + b'": 1}',
    ],
    ids=["wrong items", "items of a wrong type", "long value", "many fields", "long name"],
)
def test_a_problem_is_short_however_much_is_wrong(server: Server, body: bytes) -> None:
    answer = post(server, body)
    answer.problem(422)
    assert len(answer.body) < 10_000


@pytest.mark.parametrize(
    "field", ["n", "seed", "first_index", "steps", "labels", "eta", "guidance"]
)
@pytest.mark.parametrize("value", [True, "1", [[]], {}, "x", -1, 10**30])
def test_a_value_of_the_wrong_kind_is_refused(server: Server, field: str, value: object) -> None:
    found = post(server, json.dumps({"steps": 1, field: value}).encode()).problem(422)
    assert found["errors"][0]["field"].startswith(field)


@pytest.mark.parametrize(
    "body",
    [
        b'{"n": 2.0, "seed": 9007199254740991.0, "first_index": 0.0, "steps": 3e0}',
        b'{"n": 2.0, "steps": 3.0, "labels": [1.0, 2]}',
        b'{"n": 1.0, "steps": 3.0, "labels": 4.0, "guidance": 1.0}',
    ],
)
def test_a_number_without_a_fraction_is_an_integer_in_every_field(
    server: Server, body: bytes
) -> None:
    answer = post(server, body)
    assert answer.status == 200, answer.body
    answered, asked = json.loads(answer.body), json.loads(body)
    assert len(answered["samples"]) == asked["n"]
    assert answered["seed"] == asked.get("seed", answered["seed"])


@pytest.mark.parametrize("times", [b"[50.0, 25.0, 0.0]", b"[5e1, 25, 0]"])
def test_times_without_a_fraction_are_integers(server: Server, times: bytes) -> None:
    body = b'{"steps": 50.0, "timesteps": ' + times + b"}"
    answer = post(server, body, "/denoise-trajectory")
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "field", ["n", "seed", "first_index", "steps", "labels", "frames", "timesteps"]
)
def test_a_number_with_a_fraction_is_not(server: Server, field: str) -> None:
    for value in (b"1.5", b"[1.5]"):
        body = b'{"' + field.encode() + b'": ' + value + b"}"
        found = post(server, body, "/denoise-trajectory").problem(422)
        assert found["errors"][0]["field"].startswith(field)


@settings(derandomize=True, deadline=None, max_examples=150, database=None)
@given(body=st.dictionaries(FIELDS, JSON_VALUES, min_size=1, max_size=3), path=st.booleans())
def test_any_json_is_answered_or_refused(server: Server, body: dict[str, Any], path: bool) -> None:
    _answered_or_refused(server, json.dumps({"steps": 1, **body}).encode(), path)


@settings(derandomize=True, deadline=None, max_examples=150, database=None)
@given(body=st.binary(min_size=1), path=st.booleans())
def test_any_bytes_are_answered_or_refused(server: Server, body: bytes, path: bool) -> None:
    _answered_or_refused(server, body, path)


def _answered_or_refused(server: Server, body: bytes, trajectory: bool) -> None:
    answer = post(server, body, "/denoise-trajectory" if trajectory else "/sample")
    if answer.status != 200:
        answer.problem(422)
        return
    results = json.loads(answer.body)["trajectories" if trajectory else "samples"]
    assert [result["index"] for result in results] == list(range(len(results))) != []
