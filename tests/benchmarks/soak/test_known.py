"""Known answers: what differs from them is noticed."""

import json

import httpx
import pytest

from benchmarks.load import Request
from benchmarks.soak.known import JobCase, Known
from benchmarks.soak.requests import fingerprint
from benchmarks.soak.seen import Lost, Wrong

JSON, PNG = "application/json", "image/png"
ASKED = Request("/sample", {"n": 1})


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


CASE = JobCase(ASKED, {JSON: body(id="1", seed=3), PNG: b"picture"})
KNOWN = Known([ASKED], [fingerprint(JSON, body(id="1", seed=3))], [CASE], CASE)


def test_the_known_bytes_are_right_whatever_their_id() -> None:
    CASE.check(JSON, body(id="2", seed=3))
    CASE.check(PNG, b"picture")
    KNOWN.check(0, httpx.Response(200, content=body(id="3", seed=3)))


def test_other_bytes_are_wrong() -> None:
    with pytest.raises(Wrong, match="image/png has other bytes: 4, known are 7"):
        CASE.check(PNG, b"pict")
    with pytest.raises(Wrong):
        KNOWN.check(0, httpx.Response(200, content=body(id="1", seed=4)))


def test_another_status_is_lost() -> None:
    with pytest.raises(Lost, match="status 500: b'a bug'"):
        KNOWN.check(0, httpx.Response(500, content=b"a bug"))
