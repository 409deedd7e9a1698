"""How far a job is."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from app.generation.schemas.status import JobStatus, Readiness

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITING: dict[str, Any] = {
    "id": "a", "model": "m", "seed": 1, "sampler": "ddim", "steps": 2, "kind": "sample",
    "status": "waiting", "detail": None, "total": 3, "done": 0, "rate": None, "left_s": None,
    "created_at": NOW, "started_at": None, "finished_at": None, "expires_at": NOW,
}  # fmt: skip


def test_a_job_that_has_not_begun_tells_of_no_speed() -> None:
    found = JobStatus.model_validate(WAITING)
    assert found.model_dump() == WAITING
    assert '"created_at":"2026-01-01T00:00:00Z"' in found.model_dump_json()


@pytest.mark.parametrize("wrong", [{"status": "lost"}, {"kind": "encode"}, {"seed": None}])
def test_no_other_states_and_kinds_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobStatus.model_validate({**WAITING, **wrong})


def test_a_server_that_is_ready_has_no_reasons() -> None:
    assert Readiness(status="ready", reasons=[]).model_dump() == {"status": "ready", "reasons": []}
