"""The id of a request: the client's own, or a new one."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from app.http.request_id import RequestId
from app.http.request_log import RequestRecord


def ask(given: str | None = None) -> tuple[str, dict[str, Any]]:
    """The id in the answer, and what is bound to the lines that are logged meanwhile."""
    bound: dict[str, Any] = {}
    sent: list[Message] = []

    async def answer(scope: Scope, _: Receive, send: Send) -> None:
        bound.update(get_contextvars())
        assert RequestRecord.of(scope).request_id == bound["request_id"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if given is None else [(b"x-request-id", given.encode())]
    asyncio.run(RequestId(answer)({"type": "http", "headers": headers}, receive, send))
    ((name, value),) = sent[0]["headers"]
    assert name == b"x-request-id"
    return value.decode(), bound


def test_a_request_without_an_id_gets_a_new_one() -> None:
    (first, bound), (second, _) = ask(), ask()
    assert len(first) == len(second) == 32 and first != second
    assert bound == {"request_id": first}


@pytest.mark.parametrize("given", ["mine", "a" * 128, "A-z_0:9."])
def test_a_clients_own_id_is_kept(given: str) -> None:
    assert ask(given) == (given, {"request_id": given})


@pytest.mark.parametrize("odd", ["", "a b", "x" * 129, "<script>", "a/b"])
def test_an_id_that_is_odd_is_replaced(odd: str) -> None:
    assert ask(odd)[0] != odd
