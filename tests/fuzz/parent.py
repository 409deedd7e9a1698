"""Runs children over the inputs, and starts another where an input ended one."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.child import Fault, Job, Tally

ROOT = Path(__file__).parent.parent.parent
CORPUS = Path(__file__).parent / "corpus"
ROUND = 10_000
"""Inputs of one child, at most: what it leaks is gone with it."""
STALL_SECONDS = 600
"""A child that takes longer for a thousand inputs hangs in code that no signal ends."""


@dataclass
class Report:
    """What a target did with its inputs."""

    target: str
    tally: Tally = field(default_factory=Tally)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kinds(self) -> dict[tuple[str, str], Fault]:
        """One fault for each error and place."""
        return {(fault.error.partition(":")[0], fault.where): fault for fault in self.faults}


def corpus(target: str) -> tuple[str, ...]:
    """The inputs that once broke a target."""
    return tuple(map(str, sorted((CORPUS / target.replace(" ", "-")).glob("*"))))


def fuzz(target: str, number: int, seed: int = 0) -> Report:
    """Read `number` inputs made by chance, the same ones each time."""
    report, start, at = Report(target), time.monotonic(), 0
    while at < number:
        at = _round(report, Job(target, at, min(at + ROUND, number), seed))
    report.seconds = time.monotonic() - start
    return report


def replay(target: str) -> Report:
    """Read the inputs of the corpus."""
    report = Report(target)
    _round(report, Job(target, kept=corpus(target)))
    return report


def _round(report: Report, job: Job) -> int:
    """Run one child; return the number of the first input that is left to be read."""
    with tempfile.NamedTemporaryFile("r") as progress:
        job = dataclasses.replace(job, progress=progress.name)
        lines, ending = _run(job)
        for line in lines:
            if "where" in line:
                report.faults.append(Fault(**line))
            else:
                _add(report.tally, Tally(**line))
                return job.stop
        last = progress.read() or str(job.start)
    report.faults.append(Fault(last, f"the process ended: {ending}", "unknown"))
    _add(report.tally, Tally(faults=1))
    return int(last) + 1 if last.isdecimal() else job.stop


def _run(job: Job) -> tuple[list[dict[str, Any]], str]:
    """The lines of a child, and how it ended."""
    command = [sys.executable, "-m", "tests.fuzz.child", json.dumps(dataclasses.asdict(job))]
    limit = STALL_SECONDS * max(1.0, (job.stop - job.start) / 1000)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raw = error.stdout or b""
        return list(_lines(raw.decode() if isinstance(raw, bytes) else raw)), "it hung"
    return list(_lines(done.stdout)), f"status {done.returncode}; {done.stderr[-300:].strip()}"


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)


def _add(total: Tally, more: Tally) -> None:
    total.read += more.read
    total.refused += more.refused
    total.faults += more.faults
