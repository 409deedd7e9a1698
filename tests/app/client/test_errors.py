"""From an answer that is not 2xx to the exception that the caller gets."""

import json
import pickle

import pytest

from app.client import errors
from app.client.errors import ClientError, ProblemError, from_answer, from_problem

PROBLEM = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "1 field is wrong",
    "errors": [{"field": "steps", "value": 0, "message": "must be 1..1000"}],
}


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (401, "Unauthorized"),
        (404, "NotFound"),
        (406, "NotAcceptable"),
        (409, "Conflict"),
        (410, "Gone"),
        (413, "TooLarge"),
        (416, "RangeNotSatisfiable"),
        (422, "InvalidRequest"),
        (429, "OverLimit"),
        (500, "ServerError"),
        (503, "Unavailable"),
        (502, "BadGateway"),
        (504, "TooLate"),
        (507, "StorageFull"),
        (418, "ProblemError"),
    ],
)
def test_the_status_chooses_the_class(status: int, name: str) -> None:
    assert type(from_answer(status, {}, b"{}")) is getattr(errors, name)


def test_a_problem_tells_all_that_the_server_said() -> None:
    headers = {"x-request-id": "abc", "retry-after": "7"}
    error = from_answer(422, headers, json.dumps(PROBLEM).encode())
    assert str(error) == "422 Unprocessable Content: 1 field is wrong"
    assert (error.status, error.title, error.detail) == (
        422, "Unprocessable Content", "1 field is wrong",
    )  # fmt: skip
    assert error.errors == ({"field": "steps", "value": 0, "message": "must be 1..1000"},)
    assert (error.request_id, error.retry_after) == ("abc", 7.0)


def test_the_status_of_the_answer_counts_not_that_in_its_body() -> None:
    assert from_answer(503, {}, json.dumps(PROBLEM).encode()).status == 503


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"<html><title>502\n Bad Gateway</title>", "a web page ('502 Bad Gateway')"),
        (b"<H1>Nothing here</H1>", "a web page ('Nothing here')"),
        (b"<html>?</html>", "a web page"),
        (
            b"no upstream \xff" + b"x" * 300,
            "text ('no upstream \N{REPLACEMENT CHARACTER}" + "x" * 187 + "'), ",
        ),
        (b"[1]", "text ('[1]')"),
        (b'{"detail": "Not Found"}', """text ('{"detail": "Not Found"}')"""),
        (b"", "an empty answer"),
    ],
    ids=["titled", "headed", "untitled", "text", "a list", "another API's", "empty"],
)
def test_the_answer_of_another_program_is_told_as_such_and_cut(content: bytes, form: str) -> None:
    error = from_answer(502, {}, content, "http://a:1/sample")
    assert type(error) is errors.BadGateway
    assert error.detail.startswith(f"http://a:1/sample answered with {form}")
    assert "which this service does not send" in error.detail
    assert (error.title, error.errors, error.request_id) == ("Bad Gateway", (), None)


def test_a_status_without_a_name_is_an_error_all_the_same() -> None:
    assert str(from_answer(599, {}, b"")).startswith("599 Error: the server answered with an empty")


def test_errors_cross_to_other_processes_whole() -> None:
    headers = {"x-request-id": "abc", "retry-after": "7"}
    error = from_answer(422, headers, json.dumps(PROBLEM).encode())
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert str(pickle.loads(pickle.dumps(errors.Unreachable("away")))) == "away"


def test_a_retry_after_that_is_a_date_tells_no_seconds() -> None:
    error = from_answer(503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}")
    assert error.retry_after is None


def test_a_problem_without_a_status_is_the_servers_fault() -> None:
    error = from_problem({"detail": "why", "errors": None}, "abc")
    assert type(error) is errors.ServerError
    assert (error.status, error.detail, error.errors) == (500, "why", ())


def test_one_except_clause_catches_everything() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = [kind for kind in kinds if issubclass(kind, Exception)]
    assert len(raised) > len(errors.KINDS)
    assert all(issubclass(kind, ClientError) for kind in raised)
    assert all(issubclass(kind, ProblemError) for kind in errors.KINDS.values())
