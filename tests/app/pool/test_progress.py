"""What an engine does to load a model is logged, each step once."""

import logging
import time

import pytest

from app.pool.progress import Progress
from app.wire.messages import Starting


def test_each_step_is_logged_once_and_a_long_one_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress()
    with caplog.at_level(logging.INFO, "ddpm.engine"):
        for done, seconds in ((1, 0.0), (2, 1.0), (3, 1.5), (4, 0.5)):
            now[0] += seconds
            progress.note(7, Starting("m#1", "measuring, round", done, 4))
        progress.note(7, Starting("m#1", "recording"))
    assert caplog.messages == [
        "engine 7: m: measuring, round 1 of 4",
        "engine 7: m: measuring, round 3 of 4",
        "engine 7: m: recording",
    ]
    assert progress.now == Starting("m#1", "recording")
