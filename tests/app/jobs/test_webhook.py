"""Webhooks: signed, only to the internet unless allowed, from a real server to a real receiver."""

import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from app.jobs import webhook
from app.jobs.errors import BadAddress, BadWebhook
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


def check_signature(headers: dict[str, str], body: bytes) -> None:
    """As docs/jobs.md tells a receiver to do it."""
    message = headers["X-Webhook-Timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Signature"] == f"sha256={expected}"


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
async def test_whatever_is_not_2xx_is_a_failure_and_redirects_are_not_followed() -> None:
    with Receiver(500, 302, 204) as receiver:
        for _ in range(2):
            with pytest.raises(httpx.HTTPStatusError):
                await webhook.call(receiver.url, b"{}", secret=SECRET, private=True)
        await webhook.call(receiver.url, b"{}", secret=SECRET, private=True)
        assert receiver.calls.qsize() == 3


@pytest.mark.anyio
async def test_a_name_of_a_private_address_is_not_called(receiver: Receiver) -> None:
    with pytest.raises(BadAddress, match=r"localhost is the private address"):
        await webhook.call(receiver.url, b"{}", secret=SECRET, private=False)
    assert receiver.calls.empty()


@pytest.mark.anyio
async def test_the_name_stays_the_host_although_the_address_is_connected_to(
    receiver: Receiver,
) -> None:
    await webhook.call(receiver.url, b"{}", secret=SECRET, private=True)
    headers, _ = receiver.calls.get(timeout=10)
    assert headers["Host"] == receiver.url.split("/")[2]


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert webhook.is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_others_and_disguised_ones_are_not(address: str) -> None:
    assert not webhook.is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com", "http://HOST"),
        ("example.com", "http://HOST"),
        ("http://", "http://HOST"),
        ("http://user:secret@example.com", "user name or password"),
        ("http://[::1]/", "private address"),
        ("http://169.254.169.254/latest", "private address"),
        ("http://example.com/" + "a" * 2000, "2000 are allowed"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(url: str, reason: str) -> None:
    with pytest.raises(BadWebhook, match=reason):
        webhook.check_url(url, private=False)
