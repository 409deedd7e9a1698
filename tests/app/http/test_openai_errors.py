"""Problems below /v1/ are errors of OpenAI's API; elsewhere, and whatever else, they stay."""

import json
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.openai_errors import OpenAiErrors, error_of
from app.http.problems import Problem, invalid_field

pytestmark = pytest.mark.anyio


async def answered(
    answer: Response, path: str, root: str = "", parts: int = 1
) -> tuple[int, Headers, Any]:
    """What a client gets where the application answers so, its body in so many parts."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def in_parts(message: Message) -> None:
            body = message.get("body", b"")
            if message["type"] == "http.response.start" or parts == 1:
                await send(message)
                return
            await send({**message, "body": body[:5], "more_body": True})
            await send({**message, "body": body[5:]})

        await answer(scope, receive, in_parts)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped: ASGIApp = OpenAiErrors(app)
    await wrapped({"type": "http", "path": path, "root_path": root}, receive, send)
    start, *rest = sent
    body = b"".join(message.get("body", b"") for message in rest)
    return start["status"], Headers(raw=start["headers"]), json.loads(body)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("path", "root"), [("/v1/x", ""), ("/ddpm/v1/x", "/ddpm")])
async def test_a_wrong_field_is_a_400_that_names_it(path: str, root: str, parts: int) -> None:
    problem = invalid_field("size", "1x1", "it must be 28x28 ☺").response()
    status, headers, body = await answered(problem, path, root, parts)
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(json.dumps(body, ensure_ascii=False).encode())
    assert body["error"] == {
        "message": 'size: "1x1" is not allowed: it must be 28x28 ☺',
        "type": "invalid_request_error",
        "param": "size",
        "code": None,
    }


async def test_headers_stay_and_say_when_to_come_back() -> None:
    problem = Problem(503, "full", headers={"Retry-After": "7"}).response()
    status, headers, body = await answered(problem, "/v1/images/generations")
    assert (status, headers["retry-after"]) == (503, "7")
    assert body["error"]["type"] == "server_error"


@pytest.mark.parametrize("path", ["/sample", "/v1", "/v10/x"])
async def test_elsewhere_problems_stay_what_they_are(path: str) -> None:
    status, headers, body = await answered(Problem(422, "wrong").response(), path)
    assert (status, body["status"]) == (422, 422)
    assert headers["content-type"] == "application/problem+json"


async def test_other_answers_stay_what_they_are() -> None:
    assert await answered(JSONResponse({"a": 1}), "/v1/x", parts=2) == (
        200, Headers({"content-length": "7", "content-type": "application/json"}), {"a": 1}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "kind", "code"),
    [
        (Problem(401, "no key"), "invalid_request_error", "invalid_api_key"),
        (Problem(404, "no path"), "invalid_request_error", "not_found"),
        (Problem(404, "no", errors=[{"field": "model"}]), "invalid_request_error",
         "model_not_found"),
        (Problem(429, "too many"), "rate_limit_error", "rate_limit_exceeded"),
        (Problem(500, "a bug"), "server_error", None),
    ],
)  # fmt: skip
def test_types_and_codes_are_those_that_its_clients_know(
    problem: Problem, kind: str, code: str | None
) -> None:
    error = error_of(problem.body())
    assert (error["type"], error["code"], error["message"]) == (kind, code, problem.detail)
