"""Pages of other sites: which of them may use the server, and what they may read of its answers."""

from collections.abc import Mapping
from types import MappingProxyType

import httpx
import pytest

from tests.app.server import Server
from tests.conftest import ServerFor

LAB, OTHER = "https://lab.example.org", "https://evil.example.org"
KEY = "0123456789abcdef"
FLAGS = (f"--cors-origins={LAB},http://localhost:8888", "--max-request-bytes=1000")
NONE: Mapping[str, str] = MappingProxyType({})


@pytest.fixture(scope="module")
def open_server(server_for: ServerFor) -> Server:
    """Open to two origins, with keys."""
    return server_for(*FLAGS, keys=KEY)


def preflight(
    server: Server, origin: str = LAB, method: str = "POST", headers: str = "content-type"
) -> httpx.Response:
    """A browser's question before it sends a page's request."""
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return server.client.options("/sample", headers={"Origin": origin, **asked})


def post(server: Server, origin: str, headers: Mapping[str, str] = NONE) -> httpx.Response:
    sent = {"Origin": origin, "Authorization": f"Bearer {KEY}", **headers}
    return server.client.post("/sample", json={"steps": 1, "seed": 3}, headers=sent)


def test_by_default_no_other_site_may_use_it(server: Server) -> None:
    answer = preflight(server)
    assert answer.status_code == 405
    answers = [answer, server.client.get("/model", headers={"Origin": LAB})]
    for closed in answers:
        assert not [name for name in closed.headers if name.startswith("access-control-")]


@pytest.mark.slow
@pytest.mark.parametrize("origin", [LAB, "http://localhost:8888"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_a_listed_origin_may_send_all_that_the_api_has(
    open_server: Server, origin: str, method: str
) -> None:
    wanted = (
        "authorization, content-type, idempotency-key, last-event-id, prefer, range, if-range, "
        "x-request-id, x-webhook-url, traceparent"
    )
    answer = preflight(open_server, origin, method, wanted)
    assert answer.status_code == 200, "without a key: a browser sends none in this question"
    assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        (OTHER, "POST", "content-type"),
        ("null", "POST", "content-type"),
        (f"{LAB}.evil.example", "POST", "content-type"),
        (LAB, "PUT", "content-type"),
        (LAB, "POST", "x-other"),
    ],
)
def test_anything_else_is_refused_with_a_problem(
    open_server: Server, origin: str, method: str, headers: str
) -> None:
    answer = preflight(open_server, origin, method, headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Disallowed CORS" in answer.json()["detail"] and origin in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_may_read_the_answer_and_the_headers_that_matter(open_server: Server) -> None:
    answer = post(open_server, LAB)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == LAB
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"Location", "Retry-After", "X-Request-ID", "X-Seed", "ETag"} <= exposed
    assert {"Accept", "Origin"} <= {part.strip() for part in answer.headers["vary"].split(",")}


def test_a_page_of_another_site_may_not(open_server: Server) -> None:
    answer = post(open_server, OTHER)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Accept": "image/tiff"}, 406),
        ({"Content-Length": "2000", "Content-Type": "application/json"}, 413),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_a_page_may_read_a_refusal_whoever_refuses(
    open_server: Server, headers: Mapping[str, str], status: int
) -> None:
    if status == 413:
        sent = {"Origin": LAB, **headers}
        answer = open_server.client.post("/sample", content=b" " * 2000, headers=sent)
    else:
        answer = post(open_server, LAB, headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == LAB


@pytest.mark.slow
def test_every_origin_may_be_allowed(server_for: ServerFor) -> None:
    everyone = server_for("--cors-origins=*")
    for answer in (preflight(everyone, OTHER), post(everyone, OTHER)):
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
