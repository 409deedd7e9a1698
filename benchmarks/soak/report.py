"""What the soak saw: as JSON, as a table, and whether all of it is as it should be.

python -m benchmarks.soak.report soak.json   # the table of a report, also of a run that was cut
"""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.resources import MIB, Holding, slope, without_youth
from benchmarks.soak.plan import CALM, Plan
from benchmarks.soak.seen import Seen
from benchmarks.soak.watch import Rest, Watch
from benchmarks.tables import Cell, finite, markdown

YOUTH = 0.1
"""The part of the soak that a process may take to grow to its size; at most MAX_YOUTH_SECONDS."""
MAX_YOUTH_SECONDS = 120.0
MAX_MEMORY = 300 * MIB
"""What an API process may hold at any moment."""
MAX_SLOPE, LONG_SECONDS = 30.0, 600.0
"""MiB an hour by which it may grow, where its calm end is at least so long; in a shorter one, what
it happens to do is more than what it keeps."""
NEVER = (
    "lost", "wrong", "servers that ended badly", "processes left over", "lines of tracebacks"
)  # fmt: skip
"""Counts that are to be 0."""
ALWAYS = ("answers with the known bytes", "jobs finished")
"""Counts that are not to be 0: there was a load."""


@dataclass(frozen=True)
class End:
    """What is left when everything has been answered and deleted: rows by table, files."""

    before: Rest
    after: Rest
    rows: Mapping[str, int]
    files: Sequence[str]


@dataclass(frozen=True)
class Report:
    """The figures. Bytes, and MiB an hour after each process' youth; `end` is None, and nothing is
    judged by it, while the soak is not over."""

    plan: Plan
    database: str
    disk: str
    seconds: float
    counts: Mapping[str, int]
    problems: Sequence[str]
    starts: int
    api_peak: int
    api_slope: float
    engine_peak: int
    engine_slope: float
    end: End | None = None

    @property
    def faults(self) -> list[str]:
        """The properties that do not hold."""
        faults = [f"{name}: {self.counts[name]}" for name in NEVER if self.counts.get(name)]
        faults += [f"{name}: none" for name in ALWAYS if not self.counts.get(name)]
        if self.api_peak > MAX_MEMORY:
            held, most = round(self.api_peak / MIB), MAX_MEMORY // MIB
            faults.append(f"API process: it held {held} MiB, {most} at most are right")
        if CALM * self.plan.seconds >= LONG_SECONDS and not self.api_slope <= MAX_SLOPE:
            faults.append(f"API process: it grows by {self.api_slope:.3g} MiB an hour")
        if self.end is None:
            return [*faults, "the soak is not over"]
        if self.end.after.exceeds(self.end.before):
            faults.append(f"files or threads left over: {self.end.after}, not {self.end.before}")
        faults += [f"rows left over in {name}: {n}" for name, n in self.end.rows.items() if n]
        if self.end.files:
            faults.append(f"files left over: {len(self.end.files)}, {self.end.files[:10]}")
        return faults

    @classmethod
    def of(cls, plan: Plan, seen: Seen, watch: Watch, places: tuple[str, str]) -> "Report":
        """Of what was seen so far; `places` are the names of the database and of the disk."""
        youth = min(YOUTH * plan.seconds, MAX_YOUTH_SECONDS)
        seconds = watch.api[-1].at - watch.api[0].at if watch.api else 0.0
        return cls(
            plan, *places, seconds, dict(sorted(seen.counts.items())), list(seen.problems),
            watch.server.starts, watch.peak, _slope(watch.api, youth),
            max((holding.rss for holding in watch.engine), default=0), _slope(watch.engine, youth),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        found = finite({**dataclasses.asdict(self), "faults": self.faults})
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
        partial.replace(path)

    def table(self) -> str:
        """The report as markdown."""
        return table(finite({**dataclasses.asdict(self), "faults": self.faults}))


def _slope(holdings: Sequence[Holding], youth: float) -> float:
    return slope(without_youth(holdings, youth))


def table(report: Mapping[str, Any]) -> str:
    """A saved report as markdown."""
    counts = dict.fromkeys((*ALWAYS, *NEVER), 0) | report["counts"]
    rows: list[list[Cell]] = [[name, count] for name, count in counts.items()]
    rows += [
        ["starts of the server", report["starts"]],
        ["API processes: memory, peak MiB", round(report["api_peak"] / MIB)],
        ["API process: memory, MiB an hour", _number(report["api_slope"])],
        ["engines: memory, peak MiB", round(report["engine_peak"] / MIB)],
        ["engine: memory, MiB an hour", _number(report["engine_slope"])],
    ]
    if end := report["end"]:
        for place, of in end["before"].items():
            then = end["after"][place]
            rows.append([f"{place.replace('_', ': ')} at rest, before and after", f"{of}, {then}"])
        rows += [[f"rows left over in {name}", count] for name, count in end["rows"].items()]
        rows.append(["files left over", len(end["files"])])
    plan = report["plan"]
    load = f"{plan['clients']} + {plan['job_clients']} + {plan['readers']} clients"
    title = f"{report['seconds'] / 60:.0f} minutes, {load}, {report['database']}, {report['disk']}"
    return markdown([title, ""], rows)


def _number(value: float | None) -> float:
    """A figure of a saved report."""
    return math.nan if value is None else value


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    (path,) = sys.argv[1:] if argv is None else argv
    report = json.loads(Path(path).read_text())
    print(table(report), *report["problems"], "faults:", *report["faults"], sep="\n")
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
