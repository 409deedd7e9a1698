"""What the tests of the pool share."""

import pytest

from app.pool import starts, watchdog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine processes are looked at often, and started again without a pause."""
    monkeypatch.setattr(starts, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(watchdog, "WATCH_SECONDS", 0.05)
