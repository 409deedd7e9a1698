"""The memory of this process, in bytes."""

import gc
import resource
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import memory
from app.engine.memory import free_memory, memory_in_use

BYTES = 256 << 20


def test_what_is_taken_and_given_back_shows() -> None:
    before = memory_in_use()
    taken = np.ones(BYTES, np.uint8)
    assert memory_in_use() - before > 0.9 * BYTES
    del taken
    free_memory()
    assert memory_in_use() - before < 0.1 * BYTES


def test_what_refers_to_itself_alone_is_given_back() -> None:
    class Loop:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        gone = weakref.ref(Loop())
        assert gone() is not None
        free_memory()
        assert gone() is None
    finally:
        gc.enable()


def test_without_linux_it_is_the_most_that_there_ever_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "Path", lambda _: tmp_path / "none")
    assert memory_in_use() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_on_gpus_it_is_what_pytorch_holds_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    held, emptied = [3, 4], list[bool]()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(held))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held[device])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    assert memory_in_use() == 7
    free_memory()
    assert emptied == [True]
