"""What holds for every answer, without any engine."""

import asyncio
import logging

import httpx
import pytest

from app.main import create_app
from app.settings import Settings


def get(path: str, **headers: str) -> httpx.Response:
    """From an app whose route /broken has a bug."""
    app = create_app(Settings(), on_unusable=print)

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("a bug")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_a_bug_is_a_logged_problem_with_the_requests_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = get("/broken", **{"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    assert "a bug" not in answer.text, "its inside is for the log"
    assert "GET /broken, request mine" in caplog.text and "KeyError" in caplog.text


def test_every_answer_has_an_id() -> None:
    for path in ("/livez", "/nowhere", "/model"):
        assert len(get(path).headers["x-request-id"]) == 32
