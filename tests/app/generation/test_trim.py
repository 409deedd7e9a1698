"""Freed memory goes back to the system, where the allocator can do that."""

import ctypes
from types import SimpleNamespace

import pytest

from app.generation.trim import trim


def test_trimming_is_called_where_the_allocator_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=kept.append))
    monkeypatch.setattr("sys.platform", "linux")
    trim()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # another C library
    trim()
    monkeypatch.setattr("sys.platform", "darwin")
    trim()
    assert kept == [0]
