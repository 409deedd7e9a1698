"""One short night of everything, with a fake engine; and what it notices."""

import asyncio
import dataclasses
from pathlib import Path

from benchmarks.servers import Kind
from benchmarks.soak.night import night, places
from benchmarks.soak.plan import Plan
from benchmarks.soak.report import Report
from tests.app.server import FAKE

PLAN = Plan(
    12.0, clients=3, job_clients=3, readers=2, requests=11, jobs=3, big_samples=8,
    disconnects=0.2, leave_within=0.05, kill_engine_every=3.0, kill_api_every=4.0,
    restart_database_every=5.0, full_disk_seconds=1.0, read_seconds=1.0, max_pause=0.5,
)  # fmt: skip


def faked(*flags: str) -> Kind:
    """`ddpm serve` with an engine that is ready at once."""
    command = ("tests.app.server", *FAKE, "--", "--log-format=text", *flags)
    return Kind("fake", command, "/readyz", has_trajectories=True, is_ours=True)


def one_night(plan: Plan, folder: Path, jobs_url: str | None = "sqlite") -> Report:
    saved: list[Report] = []
    with places(folder, jobs_url) as where:
        return asyncio.run(night(faked(), plan, where, saved.append))


def test_a_short_night_loses_nothing(tmp_path: Path) -> None:
    report = one_night(PLAN, tmp_path)
    assert report.faults == [], report.problems
