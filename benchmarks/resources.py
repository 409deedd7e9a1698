"""What a server's processes hold: memory over time, open files and threads at rest."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20


@dataclass(frozen=True)
class Holding:
    """One process at a moment: `at` in seconds of time.monotonic."""

    at: float
    pid: int
    rss: int  # bytes
    files: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Holding":
        """Now. Raises psutil.NoSuchProcess when it has ended."""
        with process.oneshot():
            return cls(
                time.monotonic(), process.pid, process.memory_info().rss, process.num_fds(),
                process.num_threads(),
            )  # fmt: skip


def engines(server: psutil.Process) -> list[psutil.Process]:
    """The engines of our server's API process, which are all of its children; those that are
    ending are left out."""
    found = []
    for child in server.children():
        try:
            if child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def peak_memory(pid: int) -> int:
    """The most that the process ever held, in bytes (VmHWM). Raises OSError when it has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:  # it has just ended
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1]) * 1024


def slope(holdings: Sequence[Holding]) -> float:
    """Growth of the memory in MiB an hour: least squares with one slope for all processes, each
    with a level of its own, so that a restart is not a growth. nan with nothing to fit."""
    lives: dict[int, list[Holding]] = {}
    for holding in holdings:
        lives.setdefault(holding.pid, []).append(holding)
    covariance = variance = 0.0
    for life in lives.values():
        mean_at = sum(h.at for h in life) / len(life)
        mean_rss = sum(h.rss for h in life) / len(life)
        covariance += sum((h.at - mean_at) * (h.rss - mean_rss) for h in life)
        variance += sum((h.at - mean_at) ** 2 for h in life)
    return covariance / variance / MIB * 3600 if variance else float("nan")


def without_youth(holdings: Sequence[Holding], seconds: float) -> list[Holding]:
    """Without the first seconds of each process, in which it is still taking what it needs."""
    born: dict[int, float] = {}
    for holding in holdings:
        born.setdefault(holding.pid, holding.at)
    return [holding for holding in holdings if holding.at - born[holding.pid] >= seconds]
