"""Requests that two readers could understand differently: one of them may be a proxy in front.

Each is refused, or has one meaning alone; and what comes after it on the connection is no request
that the proxy does not know of.
"""

import contextlib

import pytest

from tests.app.raw_http import Answer, connect
from tests.app.server import Server

HEAD = b"POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def everything(server: Server, data: bytes) -> bytes:
    """All that the server answers until it closes the connection."""
    with connect(server) as connection:
        connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                received += block
    return received


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        b"Content-Length: 2, 7\r\n\r\n{}     ",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: -2\r\n\r\n{}",
        b"Content-Length: 0x2\r\n\r\n{}",
        b"Content-Length: 2 2\r\n\r\n{}",
        b"Content-Length: \r\n\r\n{}",
        b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        b"X\x00: a\r\nContent-Length: 2\r\n\r\n{}",
        b"X Y: a\r\nContent-Length: 2\r\n\r\n{}",
        b": a\r\nContent-Length: 2\r\n\r\n{}",
        b"Host: other.example\r\nContent-Length: 2\r\n\r\n{}",
        b"X: " + b"a" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"".join(b"X%d: a\r\n" % i for i in range(20_000)) + b"Content-Length: 2\r\n\r\n{}",
    ],
    ids=lambda framing: repr(framing[:40]),
)
def test_what_is_ambiguous_ends_the_connection_and_begins_no_other_request(
    server: Server, framing: bytes
) -> None:
    answers = everything(server, HEAD + framing + SMUGGLED)
    # A connection that is reset, with more on its way, may lose the answer.
    assert answers.count(b"HTTP/1.1 ") == (1 if answers else 0), answers
    assert answers[9:12] in (b"400", b"413", b"415", b"431", b"501", b""), answers
    assert b"smuggled" not in answers


@pytest.mark.parametrize("chunk", [b"-2", b"+2", b"0x2", b"2 2", b"", b"g", b"2" * 30, b"2\n"])
def test_the_size_of_a_chunk_is_a_plain_number(server: Server, chunk: bytes) -> None:
    framing = b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"\r\n{}\r\n0\r\n\r\n"
    answers = everything(server, HEAD + framing + SMUGGLED)
    assert b"smuggled" not in answers
    assert answers.count(b"HTTP/1.1 ") <= 1 and b"HTTP/1.1 200" not in answers


def test_a_body_has_one_length_where_two_headers_name_it(server: Server) -> None:
    """A length that is repeated is one; a chunked body has no other length (RFC 9112, 6.3)."""
    close = b"Connection: close\r\n"
    for framing in (
        b"Content-Length: 11\r\nContent-Length: 11\r\n\r\n" + b'{"steps":1}',
        b"Content-Length: 11, 11\r\n\r\n" + b'{"steps":1}',
    ):
        assert everything(server, HEAD + close + framing).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("order", [1, -1])
def test_a_length_beside_a_chunked_body_is_refused(server: Server, order: int) -> None:
    headers = [b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    body = b"0\r\n\r\n"
    answers = everything(server, HEAD + b"".join(headers) + b"\r\n" + body + SMUGGLED)
    assert answers.startswith(b"HTTP/1.1 400") and answers.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answers


def test_http_1_0_knows_no_chunks(server: Server) -> None:
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n"
    answers = everything(server, head + b"0\r\n\r\n" + SMUGGLED)
    assert answers.startswith(b"HTTP/1.1 400") and answers.count(b"HTTP/1.1 ") == 1


def test_a_long_extension_of_a_chunk_changes_nothing(server: Server) -> None:
    framing = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;" + b"x" * 100_000
    answers = everything(server, HEAD + framing + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED)
    assert answers.count(b"HTTP/1.1 ") <= 1 and b"smuggled" not in answers


def test_a_line_that_goes_on_is_one_value(server: Server) -> None:
    folded = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\n b\r\n"
    answers = everything(server, folded + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"x-request-id: a b" not in answers
    folded = HEAD + b" Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}"
    with connect(server) as connection:
        connection.sendall(folded)
        answer = Answer(connection)
    assert "application/json transfer-encoding" in answer.problem(415)["detail"]


def test_a_bare_line_feed_ends_a_line_and_nothing_more(server: Server) -> None:
    """RFC 9112, 2.2 allows it. What follows the empty line is the next request for everybody."""
    data = b"GET /livez HTTP/1.1\nHost: localhost\nConnection: close\n\n"
    assert everything(server, data + SMUGGLED).count(b"HTTP/1.1 ") == 1


def test_what_comes_after_an_early_refusal_is_the_rest_of_that_body(server: Server) -> None:
    body = SMUGGLED + b" " * 100
    with connect(server) as connection:
        head = HEAD.replace(b"application/json", b"text/plain")
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while block := connection.recv(1 << 16):
            received += block
    assert received.count(b"HTTP/1.1 ") == 2 and b"smuggled" not in received
    assert b'{"status":"alive"}' in received
