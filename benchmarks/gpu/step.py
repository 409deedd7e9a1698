"""What every step of a GPU session is given, and how it runs as a command of its own.

    python -m benchmarks.gpu.card --out results.jsonl

A result is one line of JSON, flushed at once: a step that is cut loses only what follows.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.tables import finite


@dataclass(frozen=True)
class Step:
    """One run of a step. `tiny`: on a network and for a time that only try the code. `seconds` is
    what the step may take; it stops by itself where it can."""

    name: str
    out: Path
    device: torch.device
    tiny: bool = False
    seconds: float = 60.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that it still may take."""
        return self.started + self.seconds - time.perf_counter()

    def write(self, kind: str, values: Mapping[str, object]) -> None:
        """Append a result: `kind` is what was measured, `values` its numbers by their names."""
        line = json.dumps(finite({"step": self.name, "kind": kind, **values}), allow_nan=False)
        with self.out.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def attempt(self, what: str, call: Callable[[], None]) -> None:
        """Call, and write down why where that fails: what comes after is measured all the same."""
        try:
            call()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self.write("failed", {"what": what, "reason": reason})


def main(name: str, run: Callable[[Step], None], argv: Sequence[str] | None = None) -> None:
    """Run a step as a command."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{name}")
    parser.add_argument("--out", type=Path, required=True, help="file that results are added to")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --tiny (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a tiny network for a moment")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for it (%(default)s)")
    args = parser.parse_args(argv)
    run(Step(name, args.out, torch.device(args.device), args.tiny, args.seconds))
