"""What browsers are told with every answer, whatever it is."""

import asyncio
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.http.security_headers import HEADERS, SecurityHeaders
from tests.app.raw_http import Answer, ask, connect, request
from tests.app.server import Server

STRICT = "strict-transport-security"


def answer(scope: dict[str, Any], **own: str) -> dict[str, str]:
    """The headers of an answer that has these of its own."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("text", headers=own)(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    whole = {"type": "http", "method": "GET", "headers": [], **scope}
    asyncio.run(SecurityHeaders(app)(whole, receive, send))
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_an_answer_is_data_of_one_client_unless_it_says_otherwise() -> None:
    headers = answer({})
    assert headers.items() >= {name.lower(): value for name, value in HEADERS.items()}.items()
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"


def test_what_an_answer_says_itself_stays() -> None:
    headers = answer({}, **{"Cache-Control": "no-cache", "Content-Security-Policy": "x"})
    assert (headers["cache-control"], headers["content-security-policy"]) == ("no-cache", "x")


@pytest.mark.parametrize(
    ("scheme", "host", "is_strict"),
    [
        ("https", "ddpm.example.org", True),
        ("https", "ddpm.example.org:8443", True),
        ("http", "ddpm.example.org", False),
        ("https", "localhost:8443", False),
        ("https", "ddpm.localhost", False),
        ("https", "127.0.0.1:8443", False),
        ("https", "[::1]:8443", False),
    ],
)
def test_over_https_a_browser_is_to_come_by_https_from_then_on(
    scheme: str, host: str, is_strict: bool
) -> None:
    scope = {"scheme": scheme, "headers": [(b"host", host.encode())]}
    assert (STRICT in answer(scope)) == is_strict


PATHS = (
    "/ /playground/main.js /playground/none.js /docs /openapi.json /model /livez /metrics /nowhere "
    "/jobs/none /static-offline-docs/favicon.png"
).split()


def check(found: Answer) -> None:
    for name, value in HEADERS.items():
        assert found.headers.get_all(name), name
        if name not in ("Content-Security-Policy", "Cache-Control"):
            assert found.headers.get_all(name) == [value]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_of_a_server_has_them(server: Server, path: str) -> None:
    check(ask(server, request("GET", path), "GET"))


def test_images_streams_and_refusals_have_them(server: Server) -> None:
    stream = request("POST", "/denoise-trajectory", b'{"steps": 2}', "Accept: text/event-stream")
    check(ask(server, stream))
    for body in (b'{"steps": 1}', b'{"steps": 0}', b"{"):
        found = ask(server, request("POST", "/sample", body))
        check(found)
        assert found.headers["cache-control"] == "no-store"
    check(ask(server, request("POST", "/sample", b"x", "Expect: 100-continue", "Origin: null")))


def test_the_answer_to_what_is_not_http_has_them(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        found = Answer(connection)
    found.problem(400)
    check(found)
