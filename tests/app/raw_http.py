"""Bytes on a socket, for requests that no HTTP client would send."""

import json
import socket
from http.client import HTTPResponse
from typing import Any

from tests.app.server import Server

TIMEOUT = 30


def connect(server: Server, address: str = "127.0.0.1") -> socket.socket:
    """A connection from a client's address."""
    return socket.create_connection(("127.0.0.1", server.port), TIMEOUT, (address, 0))


def request(
    method: str = "POST", target: str = "/sample", body: bytes = b"", *headers: str
) -> bytes:
    """One request, with its Content-Length and, for a body, its Content-Type."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Answer:
    """The next response on a socket, read to its end."""

    def __init__(self, connection: socket.socket, method: str = "POST") -> None:
        with HTTPResponse(connection, method=method) as response:
            response.begin()
            self.status = response.status
            self.headers = response.headers
            self.body = response.read()

    def problem(self, status: int) -> dict[str, Any]:
        """The body, which must be a problem of that status."""
        assert self.status == status, self.body
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["x-request-id"]
        body: dict[str, Any] = json.loads(self.body.decode())
        assert body["status"] == status
        assert body["title"] and body["detail"]
        return body


def ask(server: Server, data: bytes, method: str = "POST") -> Answer:
    """Send the bytes on a connection of their own, and read one response."""
    with connect(server) as connection:
        connection.sendall(data)
        return Answer(connection, method)
