"""What is known of a version of a model."""

import time

import pytest

from app.pool.version import Source, Version, name_of
from app.wire.messages import Load
from tests.model_info import MODEL


def test_its_key_has_its_name() -> None:
    version = Version(Source("a#b", "folder"), 3)
    assert version.key == "a#b#3"
    assert name_of(version.key) == "a#b"


def test_it_is_always_loaded_with_the_weights_that_it_had_first() -> None:
    version = Version(Source("m", "folder"), 1, max_batch=8)
    assert version.load == Load("m#1", "folder", "m", None, 8)
    version.known = MODEL
    assert version.load == Load("m#1", "folder", "m", MODEL.sha256, 8)


@pytest.mark.parametrize(
    ("last", "passed", "left"),
    [(None, 0.0, 20), (None, 15.0, 5), (6.0, 0.5, 6), (6.0, 5.9, 1), (6.0, 40.0, 10)],
)
def test_a_load_is_expected_to_take_as_long_as_the_last_one(
    last: float | None, passed: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + passed)
    version = Version(Source("m", "folder"), 1, load_seconds=last, asked_at=100.0)
    assert version.seconds_left() == left


def test_it_is_lost_when_its_weights_are_gone_or_it_was_replaced_and_cannot_be_loaded() -> None:
    version = Version(Source("m", "folder"), 1, failure="no memory")
    assert not version.is_lost
    version.has_changed = True
    assert version.is_lost
    retired = Version(Source("m", "folder"), 1, is_retired=True)
    assert not retired.is_lost
    retired.failure = "no such folder"
    assert retired.is_lost
