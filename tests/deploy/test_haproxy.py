"""What the proxy asks a second time: all that is not made twice by that."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.app.server import free_port
from tests.deploy.compose import ROOT
from tests.deploy.name_server import NameServer
from tests.deploy.programs import Program, find, until

pytestmark = pytest.mark.deploy
ASYNC = {"Prefer": "respond-async"}


class Dying(BaseHTTPRequestHandler):
    """A server that is ready, and ends before each answer."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's address, with one such server behind it."""
    haproxy, log = find("haproxy"), tmp_path_factory.mktemp("proxy") / "log"
    front = free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Dying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with NameServer("replica", ["127.0.0.1"]) as names:
            variables = {
                "LISTEN": f"127.0.0.1:{front}",
                "METRICS": f"127.0.0.1:{free_port()}",
                "SERVERS": f"replica:{server.server_port}",
                "DNS": f"127.0.0.1:{names.port}",
            }
            command = [haproxy, "-db", "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")]
            with Program(command, log, variables):
                address = f"http://127.0.0.1:{front}"
                until(lambda: answers(address), "the proxy has found the server")
                yield address
        server.shutdown()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def times_asked(url: str, headers: dict[str, str]) -> int:
    """How often the server is asked before the client gets its 502, a problem."""
    Dying.asked.clear()
    answer = httpx.post(f"{url}/sample", json={"n": 1}, headers=headers)
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 502
    return len(Dying.asked)


def test_a_request_for_images_is_asked_again(url: str) -> None:
    assert times_asked(url, {}) == 4


def test_a_job_is_not_asked_for_twice(url: str) -> None:
    assert times_asked(url, ASYNC) == 1


def test_a_job_with_a_key_is_one_job_however_often_it_is_asked_for(url: str) -> None:
    assert times_asked(url, {**ASYNC, "Idempotency-Key": "mine"}) == 4
