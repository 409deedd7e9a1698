"""What `benchmarks.soak` saw, and its table."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.resources import Holding, engines, slope, without_youth
from benchmarks.servers import Running
from benchmarks.tables import Cell, markdown

YOUTH = 0.2
"""The part of the soak that a process may take to grow to its size; at most MAX_YOUTH_SECONDS."""
MAX_YOUTH_SECONDS = 120.0
MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What is done, drawn from `seed`."""

    seconds: float
    clients: int
    requests: int
    kill_every: float  # seconds, on average
    disconnects: (
        float  # of the requests, the part whose client leaves within `leave_within` seconds
    )
    leave_within: float
    seed: int


@dataclass
class Seen:
    """What became of the requests, and what the processes held over time."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    api: list[Holding] = field(default_factory=list)
    engine: list[Holding] = field(default_factory=list)


@dataclass(frozen=True)
class Rest:
    """Open files and threads of the API process and of the engine, with no request in flight."""

    api_files: int
    api_threads: int
    engine_files: int
    engine_threads: int

    @classmethod
    def of(cls, server: Running) -> "Rest":
        """Now."""
        api, (engine, *_) = Holding.of(server.process), engines(server)
        held = Holding.of(engine)
        return cls(api.files, api.threads, held.files, held.threads)

    def exceeds(self, other: "Rest") -> bool:
        """Is anything more than it was?"""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return any(mine > its for mine, its in pairs)


@dataclass(frozen=True)
class Report:
    """How it ended. Memory slopes in MiB an hour, after each process' youth."""

    plan: Plan
    counts: dict[str, int]
    problems: list[str]
    before: Rest
    after: Rest
    api_slope: float
    engine_slope: float
    api_peak: int  # bytes
    engine_peak: int

    @property
    def is_sound(self) -> bool:
        """Was everything answered, and rightly?"""
        return not self.problems and self.counts.get("right", 0) > 0

    @classmethod
    def of(cls, plan: Plan, seen: Seen, before: Rest, after: Rest) -> "Report":
        """Of what was seen."""
        youth = min(YOUTH * plan.seconds, MAX_YOUTH_SECONDS)
        return cls(
            plan, dict(seen.counts), seen.problems, before, after,
            slope(without_youth(seen.api, youth)), slope(without_youth(seen.engine, youth)),
            max(holding.rss for holding in seen.api),
            max((holding.rss for holding in seen.engine), default=0),
        )  # fmt: skip


def table(report: Report) -> str:
    """The report as markdown."""
    counts = report.counts
    words = {
        "right": "answers with the known bytes",
        "lost": "answers lost",
        "wrong": "answers with other bytes",
        "refused": "503, asked again",
        "disconnected": "clients that left",
        "killed": "engines killed",
    }
    rows: list[list[Cell]] = [[text, counts.get(name, 0)] for name, text in words.items()]
    rows += [
        ["API process: memory, peak MiB", round(report.api_peak / MIB)],
        ["API process: memory, MiB an hour", report.api_slope],
        ["engine: memory, peak MiB", round(report.engine_peak / MIB)],
        ["engine: memory, MiB an hour", report.engine_slope],
    ]
    for place, of in dataclasses.asdict(report.before).items():
        then = dataclasses.asdict(report.after)[place]
        rows.append([f"{place.replace('_', ': ')} at rest, before and after", f"{of}, {then}"])
    title = f"{report.plan.seconds / 60:g} minutes, {report.plan.clients} clients"
    return markdown([title, ""], rows)
