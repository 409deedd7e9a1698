"""Small evaluations to test with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import main

FLAGS = [
    "--runtime=eager", "--images=3", "--samples=12", "--batch-size=5",
    "--sampler", "ddim:4", "dpmpp:3",
]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished evaluation: its folder, and report.json."""

    folder: Path
    report: dict[str, Any]


def arguments(tiny: Path, data: Path, out: Path, *flags: str) -> list[str]:
    """The command line of a small evaluation; of a flag given twice the last one counts."""
    return ["evaluate", str(tiny), f"--data={data}", f"--out={out}", *FLAGS, *flags]


def evaluate(tiny: Path, data: Path, out: Path, *flags: str) -> Run:
    """Evaluate a checkpoint from beginning to end, in this process."""
    assert main(arguments(tiny, data, out, *flags)) == 0
    return Run(out, json.loads((out / "report.json").read_text()))


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    """What two evaluations of the same settings have in common, wherever they are written."""
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in report["samplers"]]
    command = report["command"].split(" --out ")[0]
    return {**report, "samplers": rows, "date": None, "command": command}
