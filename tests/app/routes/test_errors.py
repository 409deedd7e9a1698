"""Errors: which problem each exception becomes; bad input is answered with the field's name, its
value and what is allowed."""

import asyncio
import inspect
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from app.generation import errors as generation_errors
from app.generation.errors import AnswersFull, ClientHoldsTooMuch, InvalidField, JobFailed
from app.http.problems import Problem
from app.http.request_log import RequestRecord
from app.jobs.errors import JobExpired, KeyReused, TooManyOwnJobs, UnknownJob
from app.pool import errors as pool_errors
from app.pool.errors import (
    CannotLoad,
    ClientOverLimit,
    NotReady,
    Overloaded,
    Refused,
    TooLate,
    UnknownModel,
)
from app.routes import errors
from app.routes.errors import TABLE, problem_of
from tests.app.server import Server

JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body.keys() >= {"type", "title", "detail"}
    return body


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"n": 0}, "n: Input should be greater than or equal to 1, not 0"),
        ({"n": 65}, "n: 65 is not allowed: this server makes 1..64 images a request"),
        ({"n": "4"}, 'n: Input should be a valid integer, not "4"'),
        ({"n": True}, "n: Input should be a valid integer, not true"),
        ({"n": 1.5}, "n: Input should be a valid integer, not 1.5"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, not -1"),
        (
            {"seed": 2**53},
            "seed: Input should be less than or equal to 9007199254740991, not 9007199254740992",
        ),
        (
            {"n": 2, "first_index": 2**53 - 1},
            "first_index: 9007199254740991 is not allowed: the last index, first_index + n - 1, "
            "must be at most 9007199254740991",
        ),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1, not 0"),
        (
            {"steps": 1001},
            "steps: 1001 is not allowed: this model has T = 1000, so it must be 1..1000",
        ),
        (
            {"sampler": "euler"},
            "sampler: Input should be 'ddpm', 'ddim', 'dpmpp', 'unipc' or 'ipndm', not \"euler\"",
        ),
        ({"eta": 0.5}, "eta: 0.5 is not allowed: it applies to ddim, not to ddpm"),
        (
            {"sampler": "ddim", "eta": 1.5},
            "eta: Input should be less than or equal to 1, not 1.5",
        ),
        (
            {"sampler": "dpmpp", "variance": "fixed_small"},
            'variance: "fixed_small" is not allowed: it applies to ddpm, not to dpmpp',
        ),
        ({"labels": 10}, "labels: 10 is not allowed: this model has labels 0..9"),
        ({"labels": [1, 2]}, "labels: [1, 2] is not allowed: 2 labels for n = 1 images"),
        (
            {"guidance": 1},
            "guidance: 1.0 is not allowed: it needs labels, and a model trained with label dropout",
        ),
        ({"labels": 1, "guidance": 21}, "guidance: Input should be less than or equal to 20"),
        ({"sede": 1}, "sede: unknown field, not 1"),
    ],
)
def test_a_wrong_field_of_sample_is_named(
    server: Server, body: dict[str, Any], detail: str
) -> None:
    found = problem(server.post("/sample", body), 422)
    assert found["detail"].startswith(detail)
    assert found["errors"][0]["field"] == detail.split(":")[0]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"frames": 1}, "frames: Input should be greater than or equal to 2, not 1"),
        ({"frames": 101}, "frames: 101 is not allowed: this server shows 2..100 frames"),
        ({"timesteps": []}, "timesteps: List should have at least 1 item"),
        ({"timesteps": [1001]}, "timesteps: 1001 is not allowed: this model has T = 1000"),
        (
            {"timesteps": [0], "frames": 3},
            "frames: 3 is not allowed: give frames or timesteps, not both",
        ),
        ({"timesteps": [-1]}, "timesteps[0]: Input should be greater than or equal to 0, not -1"),
    ],
)
def test_a_wrong_field_of_denoise_trajectory_is_named(
    server: Server, body: dict[str, Any], detail: str
) -> None:
    found = problem(server.post("/denoise-trajectory", body), 422)
    assert found["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("/sample", {"labels": "7"}, "labels", "Input should be a label, or a list of labels"),
        (
            "/sample",
            {"n": 2, "labels": [1, -1]},
            "labels[1]",
            "Input should be greater than or equal to 0",
        ),
        (
            "/sample",
            {"spacing": "odd"},
            "spacing",
            "Input should be 'even', 'quadratic', 'log_snr', 'karras' or 'tuned'",
        ),
        ("/sample", {"spacing": [9, "1"]}, "spacing[1]", "Input should be a valid integer"),
        ("/sample", {"steps": "1"}, "steps", "Input should be a valid integer"),
        ("/sample", {"guidance_interval": 1}, "guidance_interval", "Input should be a valid list"),
        (
            "/sample",
            {"start": {"image": 1, "t": 9}},
            "start.image",
            "Input should be a picture in base64, or a list of them",
        ),
        (
            "/sample",
            {"start": {"image": ["x", ""], "t": 9}},
            "start.image[1]",
            "String should have at least 1 character",
        ),
        (
            "/sample",
            {"start": {"seeds": [1, 2], "weight": 2}},
            "start.weight",
            "Input should be less than or equal to 1",
        ),
        (
            "/sample",
            {"start": {"seeds": [1, -2]}},
            "start.seeds[1]",
            "Input should be greater than or equal to 0",
        ),
        (
            "/sample",
            {"start": {"seeds": [1, 2, 3]}},
            "start.seeds",
            "List should have at most 2 items after validation, not 3",
        ),
        (
            "/denoise-trajectory",
            {"timesteps": 3},
            "timesteps",
            "Input should be a valid list",
        ),
        ("/encode", {"image": {}}, "image", "Input should be a picture in base64, or a list of"),
        ("/bound", {"images": "x", "timesteps": [1, "2"]}, "timesteps[1]", "Input should be a"),
    ],
)
def test_one_mistake_is_one_error(
    server: Server, path: str, body: dict[str, Any], field: str, message: str
) -> None:
    (error,) = problem(server.post(path, body), 422)["errors"]
    assert error["field"] == field and error["message"].startswith(message)


def test_all_wrong_fields_are_reported_at_once(server: Server) -> None:
    found = problem(server.post("/sample", {"n": 0, "seed": -1, "x": 1}), 422)
    assert [error["field"] for error in found["errors"]] == ["n", "seed", "x"]


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"\xff\xfe", b'{"n": NaN}', b'{"eta": 1e400}'])
def test_a_body_that_is_not_a_request_is_refused(server: Server, raw: bytes) -> None:
    problem(server.client.post("/sample", content=raw, headers=JSON), 422)


def test_a_body_that_is_no_object_is_told_so(server: Server) -> None:
    found = problem(server.client.post("/sample", content=b"[1]", headers=JSON), 422)
    assert found["detail"] == "body: it must be a JSON object, not [1]"


def test_other_media_types_are_refused(server: Server) -> None:
    form = server.client.post("/sample", data={"n": "1"})
    assert "must be application/json" in problem(form, 415)["detail"]
    accept = server.post("/sample", {"steps": 1}, "text/html")
    assert "application/x-npz" in problem(accept, 406)["detail"]


def test_a_body_over_the_limit_is_refused_before_it_is_read(server: Server) -> None:
    large = b'{"mask": "' + b"A" * 9_000_000 + b'"}'
    problem(server.client.post("/sample", content=large, headers=JSON), 413)

    def chunks() -> Any:  # no Content-Length to refuse by
        for _ in range(90):
            yield b" " * 100_000

    problem(server.client.post("/sample", content=chunks(), headers=JSON), 413)


def test_unknown_paths_and_methods_are_problems(server: Server) -> None:
    problem(server.client.get("/nothing"), 404)
    problem(server.client.get("/sample"), 405)


def test_the_clients_request_id_comes_back_unless_it_is_odd(server: Server) -> None:
    def echoed(request_id: str) -> str:
        headers = {"X-Request-ID": request_id}
        return server.client.get("/livez", headers=headers).headers["x-request-id"]

    assert echoed("abc-123") == "abc-123"
    for odd in ("a b", "x" * 200, "<script>"):
        assert echoed(odd) != odd


def test_errors_are_problems_whatever_the_client_accepts(server: Server) -> None:
    problem(server.post("/sample", {"n": 0}, "image/png"), 422)


def raised(error: Exception) -> tuple[httpx.Response, str | None]:
    """The answer of a route that raises the error, and the reason that it is counted under."""
    records: list[RequestRecord] = []
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        records.append(RequestRecord.of(scope))
        await app(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(recording)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    answer = asyncio.run(ask())
    answer.headers["x-request-id"] = "added by the request limits"
    return answer, records[0].dropped


@pytest.mark.parametrize(
    ("error", "status", "reason", "retry_after"),
    [
        (NotReady("no engine is ready"), 503, "not_ready", "5"),
        (NotReady("the model is being loaded", 7), 503, "not_ready", "7"),
        (UnknownModel("c", ["a", "b"]), 404, "not_found", None),
        (CannotLoad("32 models"), 422, "invalid_request", None),
        (Overloaded("the queue is full", retry_after=7), 503, "overloaded", "7"),
        (ClientOverLimit("your part is full", retry_after=2), 429, "client_over_limit", "2"),
        (AnswersFull("no memory", retry_after=3), 503, "answers_full", "3"),
        (ClientHoldsTooMuch("your part", retry_after=4), 429, "client_over_limit", "4"),
        (TooLate("1 of 2 samples were done"), 504, "too_late", None),
        (JobFailed("sample 0 is not a number"), 500, "internal_error", None),
        (UnknownJob("there is no job"), 404, "not_found", None),
        (JobExpired("it was kept until it expired"), 410, "gone", None),
        (KeyReused("it came with another request"), 422, "invalid_request", None),
        (TooManyOwnJobs("200 are unfinished"), 429, "too_many_requests", "30"),
        (Problem(406, "none of these"), 406, "no_such_representation", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exception_becomes_the_answer_in_its_row(
    error: Exception, status: int, reason: str, retry_after: str | None
) -> None:
    answer, counted = raised(error)
    assert problem(answer, status)["detail"] == str(error)
    assert counted == reason
    assert answer.headers.get("retry-after") == retry_after


def test_the_beginning_of_a_long_value_is_repeated_as_it_was_sent() -> None:
    found = {"type": "x", "loc": ("body", "user"), "msg": "too long", "input": "é" + "a" * 200}
    problem = errors.from_validation(RequestValidationError([found]))
    assert problem.detail.startswith('user: too long, not "\\u00e9aaa')
    assert problem.errors is not None
    assert problem.detail == f"user: too long, not {problem.errors[0]['value']}"


def test_an_invalid_field_is_listed_with_its_value() -> None:
    answer, counted = raised(InvalidField("steps", 2000, "it must be 1..1000"))
    body = problem(answer, 422)
    assert body["detail"] == "steps: 2000 is not allowed: it must be 1..1000"
    assert body["errors"] == [{"field": "steps", "value": 2000, "message": "it must be 1..1000"}]
    assert counted == "invalid_request"


def test_an_exception_without_a_row_is_a_bug() -> None:
    bug = KeyError("lost")
    with pytest.raises(KeyError) as error:
        problem_of(bug)
    assert error.value is bug


def test_a_kind_of_an_exception_with_a_row_is_answered_as_that_one() -> None:
    class NotReadyAtNight(NotReady):
        pass

    assert problem_of(NotReadyAtNight("asleep")).reason == "not_ready"


@pytest.mark.parametrize("module", [pool_errors, generation_errors], ids=lambda m: m.__name__)
def test_every_error_of_a_package_has_an_answer(module: ModuleType) -> None:
    kinds = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    unanswered = [kind for kind in kinds if kind not in TABLE]
    assert set(unanswered) <= {Refused, InvalidField}, "a base class, and a row with fields"
