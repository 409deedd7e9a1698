"""How long an engine takes to come."""

import time

import pytest

from app.pool.coming import Coming


def test_it_is_the_time_since_it_was_asked_for_without_the_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    coming = Coming()
    assert (coming.is_awaited, coming.seconds) == (False, 0.0)
    coming.come(2.0)
    assert coming.seconds == 0.0, "one that was not asked for says nothing"
    coming.ask()
    now[0] += 5.0
    coming.ask()
    assert coming.is_awaited
    now[0] += 4.0
    coming.come(2.0)
    assert (coming.is_awaited, coming.seconds) == (False, 7.0)
