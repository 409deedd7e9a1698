"""Loads that failed are tried again, unless they are stopped before."""

import asyncio

import pytest

from app.pool import retries
from app.pool.retries import Retries
from app.pool.version import Source, Version

pytestmark = pytest.mark.anyio


async def test_a_load_is_tried_again_after_its_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "AGAIN_SECONDS", (0.0,))
    version, others, loaded = Version(Source("m", "mnist"), 1, 8), Retries(), asyncio.Event()
    version.failures = 5  # the last pause repeats
    others.start(version, lambda _: loaded.set())
    assert version in others
    await loaded.wait()
    assert version not in others


async def test_a_load_that_is_stopped_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "AGAIN_SECONDS", (0.0,))
    first, second = (Version(Source(name, "mnist"), 1, 8) for name in "ab")
    waiting = Retries()
    loaded: list[Version] = []
    for version in (first, second):
        version.failures = 1
        waiting.start(version, loaded.append)
    waiting.stop(first)
    await asyncio.sleep(0.01)
    assert loaded == [second]
