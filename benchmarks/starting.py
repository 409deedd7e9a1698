"""How long does a server take to get ready, and what does it hold then?

    python -m benchmarks.starting

starts `ddpm serve` several times with an empty cache, each time followed by a start with the cache
that the other has filled, and prints a table.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.machine import machine
from benchmarks.resources import MIB, engines
from benchmarks.servers import Running, memory, ours, running
from benchmarks.tables import Cell, markdown

HEADER = (
    "start", "s until ready", "fastest", "slowest", "CPU s", "engine MiB", "API MiB", "batch sizes"
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """One start: seconds until /readyz, CPU seconds of all processes by then, and what they hold
    (PSS, bytes)."""

    is_first: bool
    seconds: float
    cpu_seconds: float
    engine_bytes: int
    api_bytes: int
    batch_sizes: tuple[int, ...]


def start(checkpoint: str, flags: Sequence[str], folder: Path, *, is_first: bool) -> Start:
    """Start a server whose cache and jobs are in `folder`, measure, and stop it."""
    kind = ours(checkpoint, f"--cache={folder / 'cache'}", f"--jobs-folder={folder}", *flags)
    began = time.perf_counter()
    with running(kind, folder / "server.log") as server:
        seconds = time.perf_counter() - began
        return Start(
            is_first,
            seconds,
            sum(cpu_seconds(process) for process in server.tree()),
            memory(engines(server.process)),
            memory([server.process]),
            batch_sizes(server),
        )


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has taken; 0 for one that has ended."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def batch_sizes(server: Running) -> tuple[int, ...]:
    """The sizes that the engine has chosen."""
    return tuple(httpx.get(f"{server.url}/model").json()["batch_sizes"])


def table(starts: Sequence[Start]) -> str:
    """The medians, as markdown: a line for first starts and one for the others."""
    rows = []
    for name, is_first in (("first", True), ("with a cache", False)):
        chosen = [start for start in starts if start.is_first == is_first]
        seconds = [start.seconds for start in chosen]
        sizes = " or ".join(sorted({", ".join(map(str, start.batch_sizes)) for start in chosen}))
        row: list[Cell] = [name, statistics.median(seconds), min(seconds), max(seconds)]
        row.append(statistics.median(start.cpu_seconds for start in chosen))
        row.append(round(statistics.median(start.engine_bytes for start in chosen) / MIB))
        row.append(round(statistics.median(start.api_bytes for start in chosen) / MIB))
        rows.append([*row, sizes])
    return markdown(HEADER, rows)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting", description=__doc__)
    parser.add_argument("--checkpoint", default="mnist", help="model (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of two starts (default: %(default)s)")
    parser.add_argument(
        "--flags", nargs="*", default=[], help="of `ddpm serve`, as threads=2 (default: none)"
    )
    parser.add_argument("--out", type=Path, help="file for the results as JSON (default: none)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    args = parse(argv)
    flags = [f"--{flag}" for flag in args.flags]
    starts: list[Start] = []
    for _ in range(args.turns):
        with tempfile.TemporaryDirectory() as name:
            for is_first in (True, False):
                starts.append(start(args.checkpoint, flags, Path(name), is_first=is_first))
    where: dict[str, Any] = machine("cpu", ("torch", "openvino"))
    print(f"{json.dumps(where)}\n\n{table(starts)}")
    if args.out is not None:
        args.out.write_text(json.dumps({"machine": where, "starts": list(map(asdict, starts))}))


if __name__ == "__main__":
    main()
