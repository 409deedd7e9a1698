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
        ("cluster_engines", "10001"), ("cluster_engine_cpus", "inf"),
        ("cluster_silence_seconds", "inf"), ("cluster_backlog_seconds", "inf"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cluster_engine_cpus", "cluster_engine_gpus"])
def test_ray_shares_out_parts_of_one_but_not_of_two(name: str) -> None:
    for value in ("0.5", "1", "2"):
        Settings(**{name: value})  # type: ignore[arg-type]
    for value in ("1.5", "0.00001"):
        with pytest.raises(ValidationError, match="Ray gives a whole number"):
            Settings(**{name: value})  # type: ignore[arg-type]


def test_at_most_there_are_no_fewer_engines_than_at_least() -> None:
    assert Settings(cluster_engines=2, cluster_max_engines=2).cluster_max_engines == 2
    with pytest.raises(ValidationError, match="at least cluster_engines, which is 2"):
        Settings(cluster_engines=2, cluster_max_engines=1)
