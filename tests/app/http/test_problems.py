"""How an error looks: RFC 9457 problem details that name the field, the value and the limit."""

import json

import pytest

from app.http.problems import MAX_TEXT, Problem, invalid_field, repeated, shorten


def test_a_problem_has_the_members_of_the_rfc() -> None:
    answer = Problem(404, "there is no job 7").response()
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "about:blank", "title": "Not found", "status": 404, "detail": "there is no job 7",
    }  # fmt: skip


def test_a_problem_carries_its_headers() -> None:
    answer = Problem(503, "full", headers={"Retry-After": "3"}).response()
    assert answer.headers["retry-after"] == "3"


def test_a_problem_is_counted_under_its_title_or_the_reason_given() -> None:
    assert Problem(413, "").reason == "request_body_too_large"
    assert Problem(429, "").title == "Too many requests"
    assert Problem(503, "", reason="overloaded").reason == "overloaded"


def test_a_status_that_is_not_expected_has_a_title_too() -> None:
    assert Problem(418, "").title == "Error"


def test_an_invalid_field_is_named_with_its_value_and_what_is_allowed() -> None:
    problem = invalid_field("steps", 2000, "it must be 1..1000")
    assert problem.status == 422
    assert problem.detail == "steps: 2000 is not allowed: it must be 1..1000"
    assert problem.body()["errors"] == [
        {"field": "steps", "value": 2000, "message": "it must be 1..1000"}
    ]


def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    assert b"x?y" in Problem(422, "x\ud800y").response().body


@pytest.mark.parametrize("value", [7, "short", None, [1, 2], {"a": True}])
def test_a_short_value_is_repeated_as_it_came(value: object) -> None:
    assert repeated(value) == value
    assert shorten(value) == json.dumps(value)


@pytest.mark.parametrize("value", ["x" * 1000, list(range(1000)), float("nan"), object()])
def test_a_value_that_is_long_or_not_json_is_cut_to_text(value: object) -> None:
    again = repeated(value)
    assert isinstance(again, str) and 0 < len(again) <= MAX_TEXT
