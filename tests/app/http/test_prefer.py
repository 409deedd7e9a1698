"""Prefer headers (RFC 7240)."""

import pytest

from app.http.prefer import parse


@pytest.mark.parametrize(
    ("headers", "respond_async", "wait"),
    [
        ([], False, None),
        (["respond-async"], True, None),
        (["Respond-Async; x=1"], True, None),
        (["wait=10"], False, 10),
        (["respond-async, wait=10"], True, 10),
        (["respond-async", "wait=10"], True, 10),
        (["wait=20, wait=5"], False, 5),
        (["wait=-1"], False, None),
        (["wait=1.5"], False, None),
        (["wait=9999999999"], False, None),
        (["return=minimal, handling=lenient"], False, None),
    ],
)
def test_what_is_honoured_is_read_and_the_rest_is_ignored(
    headers: list[str], respond_async: bool, wait: int | None
) -> None:
    assert parse(headers) == (respond_async, wait)


@pytest.mark.parametrize(
    ("headers", "seconds"), [([], 60), (["wait=10"], 10), (["wait=100"], 60), (["wait=0"], 0)]
)
def test_a_client_can_shorten_the_wait_and_not_lengthen_it(
    headers: list[str], seconds: int
) -> None:
    assert parse(headers).wait_seconds(longest=60) == seconds
