"""From an answer that is not 2xx to the exception that the caller gets."""

import json

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


def test_the_text_of_a_proxy_is_the_detail_cut_to_200_bytes() -> None:
    error = from_answer(502, {}, b" <html>bad gateway \xff" + b"x" * 300)
    assert error.detail == "<html>bad gateway \N{REPLACEMENT CHARACTER}" + "x" * 180
    assert (error.title, error.errors, error.request_id) == ("Error", (), None)


def test_json_that_is_no_object_is_text() -> None:
    assert from_answer(500, {}, b"[1]").detail == "[1]"


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
