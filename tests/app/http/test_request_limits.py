"""What holds for every answer, without any engine."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import httpx
import pytest
from fastapi import FastAPI, Request

from app.http import request_limits
from app.http.request_id import RequestId
from app.http.request_limits import RequestLimits
from app.routes import errors

JSON = {"Content-Type": "application/json"}


def ask(
    method: str,
    path: str,
    content: bytes | AsyncIterator[bytes] = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    """From an app that reads the body at /read, and has a bug at /broken."""
    app = FastAPI()
    errors.install(app)
    app.add_middleware(RequestLimits, max_request_bytes=100, body_seconds=1)
    app.add_middleware(RequestId)

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("a bug")

    @app.get("/read")
    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=headers)

    return asyncio.run(send())


def test_a_bug_is_a_logged_problem_with_the_requests_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask("GET", "/broken", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    assert "a bug" not in answer.json()["title"] and "lost" not in answer.text
    assert "GET /broken failed, request mine" in caplog.text and "KeyError" in caplog.text


def test_a_body_up_to_the_limit_is_read() -> None:
    assert ask("POST", "/read", b" " * 100, headers=JSON).json() == 100


def test_a_body_that_says_it_is_larger_is_refused() -> None:
    answer = ask("POST", "/read", b" " * 101, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the body is larger than this server allows: 100 bytes"


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 60


def test_a_body_that_grows_larger_is_refused() -> None:
    assert ask("POST", "/read", chunks(1), headers=JSON).json() == 60
    assert ask("POST", "/read", chunks(2), headers=JSON).status_code == 413


async def never() -> AsyncIterator[bytes]:
    yield b" "
    await asyncio.sleep(60)


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    answer = ask("POST", "/read", never(), headers=JSON)
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
    assert "the body did not arrive within 1 seconds" in answer.json()["detail"]


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_json_is_refused(media_type: str) -> None:
    answer = ask("POST", "/read", b"{}", headers={"Content-Type": media_type})
    assert answer.status_code == 415
    assert "it must be application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json; charset=us-ascii",
        "application/json; profile=x",
    ],
)
def test_json_may_say_that_it_is_in_utf_8(media_type: str) -> None:
    assert ask("POST", "/read", b"{}", headers={"Content-Type": media_type}).json() == 2


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", ""])
def test_json_that_says_it_is_in_another_encoding_is_refused(charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    answer = ask("POST", "/read", b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"].endswith("JSON must be in UTF-8")


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip", "x" * 200])
@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{}")], ids=["plain", "compressed"])
def test_a_body_that_says_it_is_compressed_is_refused(encoding: str, body: bytes) -> None:
    answer = ask("POST", "/read", body, headers={**JSON, "Content-Encoding": encoding})
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith(f'Content-Encoding: "{encoding.lower()[:70]}')
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_it_is_as_it_is_is_read(encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    assert ask("POST", "/read", b"{}", headers=headers).json() == 2


def test_head_is_answered_as_get_is() -> None:
    assert ask("HEAD", "/read").status_code == 200
    assert ask("HEAD", "/nowhere").status_code == 404


@pytest.mark.parametrize(
    "headers", [{f"X-{i}": "a" for i in range(201)}, {"X": "a" * (64 << 10)}], ids=["many", "long"]
)
def test_more_headers_than_any_client_has_are_refused(headers: dict[str, str]) -> None:
    answer = ask("GET", "/read", headers=headers)
    assert answer.status_code == 431
    assert answer.headers["connection"] == "close"


def test_a_body_with_two_lengths_is_refused() -> None:
    headers = {**JSON, "Content-Length": "2", "Transfer-Encoding": "chunked"}
    answer = ask("POST", "/read", b"{}", headers=headers)
    assert answer.status_code == 400
    assert answer.headers["connection"] == "close"
    assert "Content-Length or Transfer-Encoding, not both" in answer.json()["detail"]


def test_large_bodies_take_a_bounded_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """While their requests are answered, and no longer; small ones are read meanwhile."""
    monkeypatch.setattr(request_limits, "LARGE_BYTES", 100)
    monkeypatch.setattr(request_limits, "MAX_LARGE_BYTES", 250)
    app, is_over = FastAPI(), asyncio.Event()
    errors.install(app)
    app.add_middleware(RequestLimits, max_request_bytes=1000, body_seconds=1)

    @app.post("/hold")
    async def hold(request: Request) -> int:
        size = len(await request.body())
        await is_over.wait()
        return size

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def send(size: int) -> httpx.Response:
                return await client.post("/hold", content=b" " * size, headers=JSON)

            held = asyncio.create_task(send(200))
            await asyncio.sleep(0.05)
            refused = await send(101)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5"
            small = asyncio.create_task(send(100))
            await asyncio.sleep(0.05)
            is_over.set()
            assert [(await held).json(), (await small).json()] == [200, 100]
            assert (await send(200)).json() == 200

    asyncio.run(run())
