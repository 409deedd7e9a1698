"""Webhooks: signed, only to the internet unless allowed, from a real server to a real receiver."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from app.jobs import webhook
from app.jobs.errors import BadAddress
from tests.app.server import Server

SECRET = "a secret"


class Receiver:
    """Answers with the statuses given, the last one for ever; `calls` has what came."""

    def __init__(self, *statuses: int) -> None:
        self.calls: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        answers, calls = list(statuses), self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                calls.put((dict(self.headers), body))
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(200) as running:
        yield running


@pytest.fixture
def threads() -> Iterator[Executor]:
    """Those that look names up."""
    with ThreadPoolExecutor(2) as made:
        yield made


def port_of(receiver: Receiver) -> int:
    return int(receiver.url.split(":")[2].partition("/")[0])


def check_signature(headers: dict[str, str], body: bytes) -> None:
    """As docs/jobs.md tells a receiver to do it."""
    message = headers["X-Webhook-Timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Signature"] == f"sha256={expected}"


@pytest.mark.slow
def test_a_finished_job_is_told_with_a_signature(
    tiny: Path, tmp_path: Path, receiver: Receiver
) -> None:
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", f"--webhook-secret={SECRET}",
        "--webhook-private=true",
    ]  # fmt: skip
    with Server(tmp_path / "server.log", *flags) as server:
        headers = {"Prefer": "respond-async", "X-Webhook-URL": receiver.url}
        accepted = server.client.post("/sample", json={"steps": 2}, headers=headers).json()
        sent, body = receiver.calls.get(timeout=60)
        check_signature(sent, body)
        told = json.loads(body)
        assert (told["id"], told["status"], told["done"]) == (accepted["id"], "finished", 1)


@pytest.mark.slow
def test_without_a_secret_or_to_a_private_address_there_is_no_webhook(
    tiny: Path, tmp_path: Path
) -> None:
    def refusal(server: Server, url: str) -> str:
        headers = {"Prefer": "respond-async", "X-Webhook-URL": url}
        answer = server.client.post("/sample", json={"steps": 2}, headers=headers)
        assert answer.status_code == 422
        detail: str = answer.json()["detail"]
        return detail

    flags = [f"--checkpoint={tiny}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
        assert "no secret to sign them with" in refusal(server, "http://example.com")
    flags.append(f"--webhook-secret={SECRET}")
    with Server(tmp_path / "server.log", *flags) as server:
        detail = refusal(server, "http://127.0.0.1:9/")
        assert "127.0.0.1" in detail and "it is a private address" in detail
        assert SECRET not in server.log.read_text()


@pytest.mark.anyio
async def test_whatever_is_not_2xx_is_a_failure_and_redirects_are_not_followed(
    threads: Executor,
) -> None:
    with Receiver(500, 302, 204) as receiver:
        for _ in range(2):
            with pytest.raises(httpx.HTTPStatusError):
                await webhook.call(receiver.url, b"{}", threads, secret=SECRET, private=True)
        await webhook.call(receiver.url, b"{}", threads, secret=SECRET, private=True)
        assert receiver.calls.qsize() == 3


@pytest.mark.anyio
async def test_a_name_of_a_private_address_is_not_called(
    receiver: Receiver, threads: Executor
) -> None:
    with pytest.raises(BadAddress, match=r"localhost is the private address"):
        await webhook.call(receiver.url, b"{}", threads, secret=SECRET, private=False)
    assert receiver.calls.empty()


@pytest.mark.anyio
async def test_the_name_stays_the_host_although_the_address_is_connected_to(
    receiver: Receiver, threads: Executor
) -> None:
    await webhook.call(receiver.url, b"{}", threads, secret=SECRET, private=True)
    headers, _ = receiver.calls.get(timeout=10)
    assert headers["Host"] == receiver.url.split("/")[2]


@pytest.mark.anyio
async def test_the_name_is_looked_up_once_and_only_what_was_checked_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, threads: Executor
) -> None:
    """A name server that answers differently the second time gains nothing."""
    addresses, asked = iter(["127.0.0.1", "127.0.0.2"]), []

    def look_up(*host_and_port: object, **_: object) -> list[tuple[object, ...]]:
        asked.append(host_and_port)
        return [(None, None, None, "", (next(addresses), 80))]

    port = port_of(receiver)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = f"http://rebinding.example:{port}/hook"
    await webhook.call(url, b"{}", threads, secret=SECRET, private=True)
    headers, _ = receiver.calls.get(timeout=10)
    assert headers["Host"] == f"rebinding.example:{port}"
    assert asked == [("rebinding.example", port)]


class Dripping:
    """A receiver that begins an answer, and then sends `drop` again and again."""

    def __init__(self, drop: bytes, pause: float) -> None:
        self._drop, self._pause = drop, pause
        self._ended = asyncio.Event()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._ended.wait()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(self._drop)
                await writer.drain()
                await asyncio.sleep(self._pause)
        writer.close()
        self._ended.set()


@pytest.mark.anyio
@pytest.mark.parametrize("drop", [b"x", b"X-Header: 1\r\n"])
async def test_one_deadline_bounds_the_whole_call_however_busy_the_receiver_is(
    drop: bytes, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CALL_SECONDS", 0.5)
    async with Dripping(drop, pause=0.01) as url:
        with pytest.raises(TimeoutError, match="no answer within 0.5 seconds"):
            await webhook.call(url, b"{}", threads, secret=SECRET, private=True)


@pytest.mark.anyio
async def test_a_name_server_that_does_not_answer_is_waited_for_no_longer_than_that(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CALL_SECONDS", 0.2)
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(30))
    try:
        with pytest.raises(TimeoutError):
            await webhook.call("http://a.example", b"{}", threads, secret=SECRET, private=True)
    finally:
        answered.set()


@pytest.mark.anyio
async def test_an_answer_without_end_is_refused_before_it_fills_the_memory(
    threads: Executor,
) -> None:
    async with Dripping(b"x" * 65536, pause=0.0) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await webhook.call(url, b"{}", threads, secret=SECRET, private=True)
