"""Headers that no client would send: each answer is a right one or a problem, never a 500 and never
plain text."""

import pytest

from tests.app.raw_http import Answer, connect, request
from tests.app.server import Server

LONG = "9" * 5000
"""More digits than Python turns into a number."""
HEADERS = [
    f"Range: bytes=0-{LONG}",
    f"Range: bytes=-{LONG}",
    f"Range: bytes={LONG}-",
    "Range: bytes=x",
    "Range: bytes=0-1,5-6",
    f"If-Range: {LONG}",
    f"If-Modified-Since: {LONG}",
    f"If-Modified-Since: Mon, 99 Jan {LONG} 25:61:61 +{LONG}",
    f'If-None-Match: "{LONG}", {LONG}',
    f"Prefer: wait={LONG}",
    f"Last-Event-ID: {LONG}",
    f"Accept: */*;q={LONG}, */*",
    f"Idempotency-Key: {LONG}",
    f"X-Request-ID: {LONG}",
    f"X-Forwarded-For: {LONG}",
    f"X-Webhook-URL: http://x.example:{LONG}/",
    f"traceparent: 00-{LONG}-{LONG}-01",
    f"Authorization: Bearer {LONG}",
    f"Expect: {LONG}",
    "Upgrade: websocket",
]
TARGETS = [
    ("GET", "/", b""),
    ("GET", "/playground/main.js", b""),
    ("GET", "/static-offline-docs/swagger-ui.css", b""),
    ("GET", "/jobs/none/result", b""),
    ("GET", "/jobs/none/events", b""),
    ("GET", "/livez", b""),
    ("POST", "/sample", b'{"steps": 1}'),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:30])
def test_a_header_that_makes_no_sense_is_ignored_or_refused(server: Server, header: str) -> None:
    for method, target, body in TARGETS:
        with connect(server) as connection:
            connection.sendall(request(method, target, body, header))
            answer = Answer(connection, method)
        assert answer.status in (200, 206, 304, 404, 406, 416, 422), (target, answer.body)
        if answer.status >= 400:
            answer.problem(answer.status)


@pytest.mark.parametrize("length", [LONG, "9" * 19, "-1", "1e3", "\xb2", ""])
def test_a_length_that_is_none_is_a_problem(server: Server, length: str) -> None:
    head = "POST /sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with connect(server) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode("latin-1"))
        answer = Answer(connection)
    assert answer.problem(answer.status)["status"] in (400, 413)


@pytest.mark.parametrize("method", ["DELETE", "POST", "BREW"])
def test_a_method_that_a_file_does_not_have_is_a_problem_that_names_those_it_has(
    server: Server, method: str
) -> None:
    for target in ("/playground/main.js", "/static-offline-docs/swagger-ui.css"):
        with connect(server) as connection:
            connection.sendall(request(method, target))
            answer = Answer(connection, method)
        answer.problem(405)
        assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["none.js", "", "%00", "a" * 3000, "..%2fmain.py"])
def test_a_file_that_is_not_there_is_a_problem(server: Server, path: str) -> None:
    with connect(server) as connection:
        connection.sendall(request("GET", f"/playground/{path}"))
        Answer(connection, "GET").problem(404)
