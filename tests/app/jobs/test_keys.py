"""Idempotency keys: what they may be, and what they stand for."""

import pytest

from app.jobs.errors import BadKey
from app.jobs.keys import Key, read_key

BODY = '{"n":1}'


def key(
    header: str = "a",
    client: str = "me",
    path: str = "/sample",
    body: str = BODY,
    job: bool = False,
) -> Key:
    found = read_key(header, client, path, body, is_job=job)
    assert found is not None
    return found


def test_a_request_without_the_header_has_no_key() -> None:
    assert read_key(None, "me", "/sample", BODY, is_job=True) is None


def test_a_fingerprint_is_the_same_in_every_version_since_databases_keep_it() -> None:
    fingerprint = "627687277a3bf285ad791eb953f139e4fec412a30aec3c26aebf81f82403c2a4"
    assert key(job=True) == Key("me", "a", fingerprint)


def test_whatever_the_request_asks_for_is_in_the_fingerprint_and_who_asks_is_not() -> None:
    requests = [key(), key(path="/denoise-trajectory"), key(body='{"n":2}'), key(job=True)]
    assert len({request.fingerprint for request in requests}) == 4
    assert key(header="b", client="you").fingerprint == key().fingerprint


@pytest.mark.parametrize("header", ["a", "a b", "!", "~" * 255])
def test_printable_ascii_is_allowed(header: str) -> None:
    assert key(header).key == header


@pytest.mark.parametrize("header", ["", " a", "a ", "a" * 256, "caf\u00e9", "a\tb"])
def test_anything_else_is_refused_with_the_beginning_of_it(header: str) -> None:
    with pytest.raises(BadKey, match=r"^Idempotency-Key: \".* is not allowed: it must be 1..255"):
        key(header)


def test_the_message_repeats_at_most_eighty_characters() -> None:
    with pytest.raises(BadKey) as refused:
        key("a" * 1000)
    assert "a" * 76 + "..." in str(refused.value)
    assert "a" * 77 not in str(refused.value)
