"""What a client is made with: its address, its key, its time."""

import math

import httpx
import pytest

from app.client import Client
from app.client.arguments import headers, seconds, server_url, shown


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" https://example.org/\n", "https://example.org/"),
        ("http://example.org/ddpm", "http://example.org/ddpm"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000/?view=watch&seed=1#main", "http://127.0.0.1:8000/"),
    ],
    ids=["plain", "spaces", "below a path", "IPv6", "the page's, copied"],
)
def test_the_address_of_the_page_is_the_servers(url: str, base: str) -> None:
    assert str(server_url(url)) == base


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("localhost:8000", "; is it http://localhost:8000?"),
        ("127.0.0.1:8000", "; is it http://127.0.0.1:8000?"),
        ("example.org/ddpm", "; is it http://example.org/ddpm?"),
        ("http:/example.org", ""),
        ("ftp://example.org", ""),
        ("http://", ""),
        ("", ""),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_meant(url: str, hint: str) -> None:
    with pytest.raises(ValueError, match="^url: ") as error:
        server_url(url)
    assert str(error.value).endswith(f"name a host{hint}")


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="^url: 'http://a:b' is not allowed: Invalid port"):
        server_url("http://a:b")


def test_a_key_is_sent_without_the_line_break_of_its_file() -> None:
    assert headers("a key\n")["Authorization"] == "Bearer a key"
    assert "Authorization" not in headers("") and "Authorization" not in headers(None)


@pytest.mark.parametrize("key", ["geheimschlüssel", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="^api_key: ") as error:
        headers(key)
    assert key not in str(error.value)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, None, "5"])
def test_a_time_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout: .* it must be seconds, above 0"):
        seconds(timeout)


def test_a_client_may_wait_without_a_limit() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert 0 < request.extensions["timeout"]["read"] < math.inf
        return httpx.Response(401, json={"title": "No valid API key", "detail": "none"})

    transport = httpx.MockTransport(answer)
    with Client("http://here", timeout=math.inf, transport=transport) as client:
        with pytest.raises(Exception, match="No valid API key"):
            client.model()


def test_errors_show_an_address_without_its_secrets() -> None:
    url = httpx.URL("https://me:secret@example.org:8000/ddpm/jobs/a?token=b#c")
    assert shown(url) == "https://example.org:8000/ddpm/jobs/a"
