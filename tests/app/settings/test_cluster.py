"""The settings of a cluster."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_without_a_word_there_is_no_cluster() -> None:
    assert (Settings().cluster, Settings().cluster_engines) == ("", 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cluster", "here"), ("cluster_engines", "-1"), ("cluster_engine_cpus", "0"),
        ("cluster_silence_seconds", "1"), ("cluster_backlog_seconds", "0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]
