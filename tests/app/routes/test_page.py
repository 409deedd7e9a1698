"""The playground's files, as the server hands them out."""

import asyncio

import httpx
from fastapi import FastAPI

from app.routes import page


def get(path: str) -> httpx.Response:
    app = FastAPI()
    page.install(app)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

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
