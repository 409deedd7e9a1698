"""What a request is told that is refused."""

from app.generation.schemas.problems import FieldError, ProblemBody

PROBLEM = {"type": "about:blank", "title": "Unprocessable", "status": 422, "detail": "n: wrong"}


def test_a_problem_may_have_no_wrong_fields() -> None:
    assert ProblemBody.model_validate(PROBLEM).errors == []


def test_a_wrong_field_has_the_value_that_was_sent_if_any_was() -> None:
    wrong = [{"field": "n", "value": 0, "message": "1 or more"}, {"field": "x", "message": "gone"}]
    found = ProblemBody.model_validate({**PROBLEM, "errors": wrong}).errors
    assert found[0] == FieldError(field="n", value=0, message="1 or more")
    assert found[1].value is None
