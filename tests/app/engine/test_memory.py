"""What a process has of memory, and gives back."""

import resource
from pathlib import Path

import pytest
import torch

from app.engine import memory
from app.engine.memory import free_memory, memory_in_use

MIB = 1 << 20


def test_what_is_let_go_of_is_given_back_to_the_system() -> None:
    free_memory()
    before = memory_in_use()
    # Pieces too small to be mapped by themselves: without being asked, glibc keeps them
    held = [bytearray(b"1" * 1000) for _ in range(64 * MIB // 1000)]
    taken = memory_in_use() - before
    assert taken > 60 * MIB
    del held
    free_memory()
    assert memory_in_use() - before < taken / 2


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
