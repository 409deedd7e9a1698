"""Who is asking: a key's holder, or an address."""

import pytest

from app.http.auth import identify
from app.http.problems import Problem

KEYS = ["the first key of this server", "another key of this server"]


def test_without_keys_a_client_is_its_address() -> None:
    assert identify([], None, "10.0.0.1") == "address 10.0.0.1"
    assert identify([], "whatever", "10.0.0.1") == "address 10.0.0.1"
    assert identify([], None, None) == "address unknown"


def test_with_keys_a_client_is_its_key_wherever_it_comes_from() -> None:
    names = {identify(KEYS, KEYS[0], address) for address in ("10.0.0.1", "10.0.0.2", None)}
    assert len(names) == 1
    assert names != {identify(KEYS, KEYS[1], "10.0.0.1")}


def test_the_name_does_not_reveal_the_key() -> None:
    name = identify(KEYS, KEYS[0], None)
    assert not any(word in name for word in KEYS[0].split() if len(word) > 3)


@pytest.mark.parametrize("given", [None, "", "wrong", KEYS[0] + " ", KEYS[0][:-1], "é"])
def test_another_key_is_refused(given: str | None) -> None:
    with pytest.raises(Problem) as error:
        identify(KEYS, given, "10.0.0.1")
    assert error.value.status == 401
    assert error.value.headers == {"WWW-Authenticate": "Bearer"}
