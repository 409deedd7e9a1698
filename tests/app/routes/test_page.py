"""The playground's files, as the server hands them out."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app.routes import page


def get(path: str, **headers: str) -> httpx.Response:
    app = FastAPI()
    page.install(app)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_the_page_is_at_the_root() -> None:
    answer = get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<title>DDPM playground</title>" in answer.text


def test_the_page_may_load_only_what_this_server_has() -> None:
    policy = get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy


def test_its_scripts_and_styles_are_asked_for_again_each_time() -> None:
    for name in ("main.js", "style.css"):
        answer = get(f"/playground/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "no-cache"


def test_nothing_else_of_the_project_is_handed_out() -> None:
    for path in ("/playground/../main.py", "/playground/%2e%2e/main.py", "/playground/none.js"):
        assert get(path).status_code == 404, path


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-9", "bytes=x", "bytes=9-5", "lines=0-1", "bytes=99999999-", f"bytes=0-{'9' * 5000}"],
    ids=lambda asked: asked[:20],
)
def test_a_file_is_sent_whole_whatever_range_is_asked_for(asked: str) -> None:
    for path in ("/", "/playground/main.js"):
        answer = get(path, Range=asked)
        assert (answer.status_code, answer.content) == (200, get(path).content)


def test_a_file_that_the_client_has_is_not_sent_again() -> None:
    etag = get("/playground/main.js").headers["etag"]
    answer = get("/playground/main.js", **{"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
