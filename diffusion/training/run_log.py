"""The log of a run: scalars every so many steps, in log.jsonl and in TensorBoard."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)

NAME = "log.jsonl"


class Writer(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None: ...
    def add_image(self, tag: str, image: Any, step: int, /) -> None: ...


def read_log(run: Path) -> dict[int, dict[str, float]]:
    """Read the scalars of a run's log.jsonl, by step.

    A run of an older version logged again the steps since its last state; the newer line counts. A
    line that is not whole is passed over.
    """
    entries: dict[int, dict[str, float]] = {}
    for line in (run / NAME).read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            step, scalars = _entry(line)
            entries[step] = scalars
    return dict(sorted(entries.items()))


def append(run: Path, writer: Writer | None, step: int, scalars: dict[str, float]) -> None:
    """Log the scalars of a step. What cannot be written is left out with a warning: training goes
    on without its log."""
    try:
        with (run / NAME).open("a") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")
        if writer is not None:
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, step)
    except OSError as error:
        log.warning("step %d is missing in the log: %s", step, error)


def cut_back(run: Path, step: int) -> None:
    """Remove from log.jsonl what came after a step, because the run goes on from there, and what
    a killed process left unfinished."""
    path = run / NAME
    if not path.exists():
        return
    text = path.read_text(errors="replace")
    kept = "".join(f"{line}\n" for line in _until(text, step))
    if kept == text:
        return
    partial = path.with_name(f".{NAME}.partial")
    partial.write_text(kept)
    os.replace(partial, path)


def _until(text: str, last: int) -> Iterator[str]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            step, _ = _entry(line)
            if step <= last:
                yield line


def _entry(line: str) -> tuple[int, dict[str, float]]:
    """The step and the scalars of a line. Raises ValueError where it is not a whole one."""
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
        raise ValueError("not a line of the log")
    return entry.pop("step"), entry
