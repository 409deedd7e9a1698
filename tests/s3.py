"""A real S3 server for the tests (moto's), and a door to it at which things go wrong."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

START_SECONDS = 60
ERROR = "<Error><Code>{code}</Code><Message>{code}: said the store</Message></Error>"
KEY = "a-key"
SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}
"""What moto wants to see, and does not check."""
KEPT = ("content-length", "content-type", "etag", "last-modified")


class S3:
    """`with S3(log) as server:`; it keeps objects in memory. Any credentials will do."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> "S3":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("w") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, (
                self._log.read_text()
            )
            try:
                self.ask("GET", "/")
                return self
            except OSError:
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def new_bucket(self) -> str:
        """The URL of an empty one."""
        name = f"test-{uuid4().hex}"
        assert self.ask("PUT", f"/{name}").status == 200
        return f"s3://{name}/jobs"

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = SIGNED
    ) -> "Answer":
        """What it answers to a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()


@dataclass(frozen=True)
class Answer:
    """What a client of S3 is told."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, code: str) -> Answer:
    """One of S3's errors."""
    body = ERROR.format(code=code).encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


@dataclass(frozen=True)
class Asked:
    """A request that comes to the door; `key` names the object's place."""

    method: str
    path: str
    body: bytes

    @property
    def writes_sample(self) -> bool:
        """Is it the upload of a sample?"""
        return self.method == "PUT" and self.path.rpartition("/")[2].split("?")[0].isdecimal()


class Cut(Exception):
    """The connection breaks before an answer."""


class Door(ThreadingHTTPServer):
    """`with Door(server) as door:` passes requests on to an S3 server. `before` may answer instead
    of it, `after` is called when it has done what was asked and its client does not know yet; both
    may raise Cut. Who comes with none of the access `keys` gets the `refusal`."""

    daemon_threads = True

    def __init__(self, server: S3) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.s3 = server
        self.before: Callable[[Asked], Answer | None] = lambda _: None
        self.after: Callable[[Asked], None] = lambda _: None
        self.keys = {KEY}
        self.refusal = error(403, "InvalidAccessKeyId")
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Door":
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that uses this door."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def handle_error(self, *_: object) -> None:
        """A client that leaves is none."""


class Handler(BaseHTTPRequestHandler):
    """One connection at the door."""

    protocol_version = "HTTP/1.1"
    server: Door

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, body)
        try:
            answer = self._refusal() or self.server.before(asked)
            if answer is None:
                answer = self.server.s3.ask(self.command, self.path, body, dict(self.headers))
                self.server.after(asked)
        except Cut:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() in KEPT and name.lower() != "content-length":
                self.send_header(name, value)
        length = len(answer.body)
        if self.command == "HEAD":
            length = int(answer.headers.get("Content-Length", length))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _refusal(self) -> Answer | None:
        signed = self.headers.get("Authorization", "")
        is_known = any(f"={key}/" in signed for key in self.server.keys)
        return None if is_known else self.server.refusal

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def log_message(self, *_: object) -> None:
        """Say nothing."""
