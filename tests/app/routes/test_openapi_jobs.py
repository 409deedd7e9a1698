"""The examples of the document are answers that its schemas allow."""

from app.generation.schemas.status import JobStatus
from app.routes import openapi_jobs


def test_the_examples_are_what_the_schemas_allow() -> None:
    running = openapi_jobs.JOB_RESPONSES[200]["content"]["application/json"]["example"]
    assert JobStatus.model_validate(running).status == "running"
    accepted = openapi_jobs.ACCEPTED[202]["content"]["application/json"]["example"]
    assert JobStatus.model_validate(accepted).started_at is None


def test_what_passes_says_when_to_come_back() -> None:
    for status in (429, 503):
        assert "Retry-After" in openapi_jobs.RESULT_RESPONSES[status]["headers"]
