"""What the server does for Ray Serve; how it serves, tests/app/cluster/test_cluster.py says."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.cluster.ingress import Requests, Server
from app.pool.pool import EnginePool

pytestmark = pytest.mark.anyio


async def test_the_request_id_is_left_to_the_proxy() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        headers = [(b"X-Request-ID", b"1"), (b"x-seed", b"7")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"whole"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await Requests(app)({"type": "http"}, None, send)  # type: ignore[arg-type]
    assert sent[0] == {
        "type": "http.response.start", "status": 200, "headers": [(b"x-seed", b"7")]
    }  # fmt: skip
    assert sent[1]["body"] == b"whole"


def made(**settings: str) -> Server:
    handle: Any = None
    return Server(handle, {"log_level": "error", **settings})


async def test_a_failure_is_told_to_the_driver_and_by_the_health_check() -> None:
    server = made()
    telling = asyncio.create_task(server.failure())
    await asyncio.sleep(0)
    server.check_health()
    server._fail("no engine can start")
    server._fail("and more")
    assert await telling == "no engine can start"
    with pytest.raises(RuntimeError, match="^no engine can start$"):
        server.check_health()


async def test_a_server_without_requests_is_drained_at_once_though_jobs_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = made(shutdown_seconds="60")
    server.__serve_build_asgi_app__()
    monkeypatch.setattr(
        EnginePool, "queued_samples", 8
    )  # of a job: another process goes on with it
    async with asyncio.timeout(5):
        await server.drain()
    assert server._app is not None
    assert server._app.state.services.pool.is_draining


async def test_a_server_is_drained_when_its_requests_are_answered() -> None:
    server = made(shutdown_seconds="60")
    server.__serve_build_asgi_app__()
    requests, answered = server._requests, asyncio.Event()
    assert requests is not None

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await answered.wait()  # its images are made, and the last bytes on their way

    async def send(_: Message) -> None:
        pass

    requests.app = app
    asking = asyncio.create_task(requests({"type": "http"}, None, send))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0.3)
    assert not draining.done()
    answered.set()
    async with asyncio.timeout(5):
        await draining
        await asking
