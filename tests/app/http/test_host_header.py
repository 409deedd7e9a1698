"""The name in a Host header."""

import pytest

from app.http.host_header import is_local_or_number, name_of


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:8000", "localhost"),
        ("Images.Example.org.:443", "images.example.org"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8000", "[::1]"),
        ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ("", ""),
    ],
)
def test_a_host_is_a_name_and_maybe_a_port(host: str, name: str) -> None:
    assert name_of(host) == name


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "127.0.0.1", "[::1]", "10.0.0.7"])
def test_some_names_are_nobodys(name: str) -> None:
    assert is_local_or_number(name)


@pytest.mark.parametrize(
    "name", ["", "example.org", "localhost.example.org", "notlocalhost", "[x]"]
)
def test_others_may_be_anybodys(name: str) -> None:
    assert not is_local_or_number(name)
