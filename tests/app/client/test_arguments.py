"""What a client is made with: its address, its key, its time."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Client, NotFound, SampleRequest, TrajectoryRequest
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


@pytest.mark.parametrize("url", [None, 8000, b"http://here"])
def test_an_address_of_another_type_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match=r"^url: .* is not allowed: it must be a text that begins"):
        Client(url)


@pytest.mark.parametrize("key", [5, b"secret"])
def test_a_key_of_another_type_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(ValueError, match=r"^api_key: it must be a text or None, not (int|bytes)$"):
        Client("http://here", api_key=key)


@pytest.fixture
def unused() -> Iterator[Client]:
    """A client that must send nothing."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    with Client("http://here", transport=httpx.MockTransport(answer)) as client:
        yield client
    assert not sent


@pytest.mark.parametrize("job", [None, 5, "", ".", ".."])
def test_what_is_no_job_is_refused_by_every_method(
    job: Any, unused: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "^job: .* is not allowed: it must be a Job, or the id of one"
    for name in ("job", "watch", "wait", "result", "cancel"):
        with pytest.raises(ValueError, match=reason):
            getattr(unused, name)(job)
    with pytest.raises(ValueError, match=reason):
        unused.download(job, tmp_path / "a.zip")
    assert capsys.readouterr().err == "", "no bar is drawn"


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "5"])
def test_a_time_to_wait_that_is_none_is_refused(timeout: Any, unused: Client) -> None:
    for wait in (unused.wait, unused.watch):
        with pytest.raises(ValueError, match=r"^timeout: .* is not allowed: .* above 0"):
            wait("a", timeout=timeout)


def test_each_method_takes_its_own_kind_of_request(unused: Client) -> None:
    wrong: dict[str, list[Any]] = {
        "sample": [{"n": 1}, None, TrajectoryRequest()],
        "trajectory": [{"n": 1}, SampleRequest()],
        "stream": [{"n": 1}, SampleRequest()],
        "submit": [{"n": 1}, "a"],
    }
    for name, requests in wrong.items():
        for request in requests:
            reason = f"^request: .* is not allowed: {name} takes a "
            with pytest.raises(ValueError, match=reason):
                found = getattr(unused, name)(request)
                list(found)


def test_a_closed_client_says_so(unused: Client) -> None:
    unused.close()
    with pytest.raises(RuntimeError, match="this client is closed; make another"):
        unused.sample()


def test_an_id_is_escaped_in_the_path() -> None:
    paths: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(404, json={"title": "Not Found", "detail": "none"})

    with Client("http://here", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(NotFound):
            client.job("../a?b#c d")
    assert paths == [b"/jobs/..%2Fa%3Fb%23c%20d"]


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
