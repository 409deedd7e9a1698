"""HTTP at its edges: methods, paths, headers and framing, on the wire."""

import re
import time

import pytest

from tests.app.raw_http import Answer, ask, connect, request
from tests.app.server import Server

ONE = b'{"steps": 1, "seed": 1}'
READ_ONLY = ["/livez", "/readyz", "/model", "/metrics", "/openapi.json", "/docs"]


@pytest.mark.parametrize("path", READ_ONLY)
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    got = ask(server, request("GET", path), "GET")
    head = ask(server, request("HEAD", path), "HEAD")
    assert head.status == got.status == 200
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.body == b""


@pytest.mark.parametrize("path", READ_ONLY)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "FOO"])
def test_another_method_is_told_those_allowed(server: Server, path: str, method: str) -> None:
    answer = ask(server, request(method, path), method)
    answer.problem(405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "TRACE"])
def test_generation_is_by_post_alone(server: Server, method: str) -> None:
    answer = ask(server, request(method, "/sample"), method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "target",
    [
        "//livez", "/livez/", "/./livez", "/x/../livez", "/%2e%2e/livez", "/livez%00", "/livez%2f",
        "/livez%0d%0aX-Evil:%201", "/LIVEZ", "/%ff", "/%", "*", "http://elsewhere/livez/x",
        "//elsewhere/livez", "/jobs/../../etc/passwd", "/" + "x" * 20_000,
        "/static-offline-docs/../../../../etc/passwd", "/static-offline-docs/%2e%2e/core.py",
        "/static-offline-docs/..%2fcore.py", "/static-offline-docs/%00",
        "/static-offline-docs/" + "x" * 300, "/static-offline-docs//etc/passwd",
        "/static-offline-docs/",
    ],
    ids=lambda target: target[:40],
)  # fmt: skip
def test_paths_are_taken_as_they_are(server: Server, target: str) -> None:
    answer = ask(server, request("GET", target), "GET")
    answer.problem(404)
    assert len(answer.body) < 1000
    assert "location" not in answer.headers and "x-evil" not in answer.headers


@pytest.mark.parametrize("host", ["[", "a b", "elsewhere:99999999", "", "%00"])
def test_an_odd_host_changes_nothing(server: Server, host: str) -> None:
    data = f"GET /nothing HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    assert ask(server, data, "GET").status in (400, 404)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\x00b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /sample HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_a_problem_and_the_end_of_the_connection(
    server: Server, data: bytes
) -> None:
    with connect(server) as connection:
        connection.sendall(data)
        answer = Answer(connection)
        assert answer.status in (400, 501)
        answer.problem(answer.status)
        assert answer.headers["connection"] == "close"
        assert connection.recv(1) == b""


def test_nonsense_after_an_early_answer_ends_the_connection(server: Server) -> None:
    with connect(server) as connection:
        head = request("POST", "/sample", b"", "Transfer-Encoding: chunked")
        connection.sendall(head)
        Answer(connection).problem(415)
        connection.sendall(b"zz\r\n")
        assert connection.recv(1) == b""
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    "given",
    ["a\tb", "a\r\n folded", "x" * 129, "<script>", "é", '"', "a,b", "a b", ""],
)
def test_an_odd_request_id_is_replaced(server: Server, given: str) -> None:
    answer = ask(server, request("GET", "/livez", b"", f"X-Request-ID: {given}"), "GET")
    if answer.status == 200:
        assert len(answer.headers["x-request-id"]) == 32
    else:
        answer.problem(400)


def test_two_request_ids_give_one(server: Server) -> None:
    answer = ask(
        server, request("GET", "/livez", b"", "X-Request-ID: one", "X-Request-ID: two"), "GET"
    )
    assert answer.headers.get_all("x-request-id") == ["one"]


def test_a_body_is_asked_for_only_when_it_will_be_read(server: Server) -> None:
    expecting = ["Expect: 100-continue", "Content-Type: application/json"]
    with connect(server) as connection:
        head = request("POST", "/sample", b"", *expecting, f"Content-Length: {len(ONE)}")
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(ONE)
        assert Answer(connection).status == 200
    too_large = request("POST", "/sample", b"", *expecting, "Content-Length: 999999999")
    ask(server, too_large).problem(413)


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(
            request("POST", "/sample", ONE, "X-Request-ID: 1")
            + request("GET", "/livez", b"", "X-Request-ID: 2")
            + request("POST", "/sample", b'{"n": 0}', "X-Request-ID: 3")
            + request("GET", "/nothing", b"", "X-Request-ID: 4")
        )
        data = b""
        while data.count(b"HTTP/1.1 ") < 4 or not data.endswith(b"}"):
            data += connection.recv(1 << 16)
    assert re.findall(rb"x-request-id: (\d)\r\n", data) == [b"1", b"2", b"3", b"4"]


def test_a_chunked_body_is_read_whole(server: Server) -> None:
    head = request(
        "POST", "/sample", b"", "Content-Type: application/json", "Transfer-Encoding: chunked"
    )
    with connect(server) as connection:
        connection.sendall(head)
        for i in range(0, len(ONE), 5):
            part = ONE[i : i + 5]
            connection.sendall(b"%x;extension=1\r\n%s\r\n" % (len(part), part))
            time.sleep(0.01)
        connection.sendall(b"0\r\nTrailer: x\r\n\r\n")
        assert Answer(connection).status == 200


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application", "json", "*/*",
     "application/jsonp", "multipart/form-data; boundary=x", "text/json", "é"],
)  # fmt: skip
def test_a_body_that_is_not_said_to_be_json_is_refused(server: Server, media_type: str) -> None:
    head = request(
        "POST", "/sample", b"", f"Content-Type: {media_type}", f"Content-Length: {len(ONE)}"
    )
    ask(server, head + ONE).problem(415)


def test_no_content_type_is_refused_and_no_body_is_a_request(server: Server) -> None:
    ask(server, request("POST", "/sample", b"", "Content-Length: 2") + b"{}").problem(415)
    for accepted in ("application/json", "APPLICATION/JSON;charset=utf-8", " application/json ; x"):
        head = request("POST", "/sample", b"", f"Content-Type: {accepted}", "Content-Length: 12")
        assert ask(server, head + b'{"steps": 1}').status == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (["*/*;q=nan"], 406),
        (["image/png;q=inf"], 406),
        (["image/png;q=1e-400"], 406),
        (["image/png;q=-1"], 406),
        (["image/png;q=0"], 406),
        (["text/html", "image/png"], 200),
        ([",;/,,", "*/*"], 200),
        ([""], 200),
        (["é/é, */*"], 200),
        (["text/html;q=" + "9" * 5000], 406),
        (["x/y," * 10_000 + "image/png"], 200),
        (["x/y," * 10_000], 406),
    ],
    ids=lambda value: str(value)[:30],
)
def test_odd_accept_headers(server: Server, accept: list[str], status: int) -> None:
    data = request("POST", "/sample", ONE, *(f"Accept: {value}" for value in accept))
    answer = ask(server, data)
    assert answer.status == status
    if status == 406:
        assert len(answer.problem(406)["detail"]) < 500
