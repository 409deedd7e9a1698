"""One short night of everything, with a fake engine; and one with a real one, on PostgreSQL."""

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.servers import Kind
from benchmarks.soak import __main__ as command
from benchmarks.soak.night import night, places
from benchmarks.soak.plan import Plan
from benchmarks.soak.report import Report
from tests.benchmarks.soak.fakes import faked
from tests.tiny import save_tiny

SHORT = Plan(
    8.0, clients=2, job_clients=2, readers=2, requests=11, jobs=3, big_samples=8, disconnects=0.3,
    leave_within=0.05, kill_engine_every=2.0, kill_api_every=3.0, restart_database_every=4.0,
    full_disk_seconds=1.0, read_seconds=1.0, max_pause=0.5, webhooks=("none", "kind", "fails"),
)  # fmt: skip


def one_night(kind: Kind, plan: Plan, folder: Path, jobs_url: str | None) -> Report:
    with places(folder, jobs_url) as where:
        return asyncio.run(night(kind, plan, where, save=lambda _: None))


def check_sound(report: Report) -> None:
    assert report.faults == [], report.problems
    for name in ("engines killed", "seconds with a full disk", "clients that left"):
        assert report.counts[name] > 0, report.counts
    assert report.starts > 1


@pytest.mark.slow
def test_a_short_night_loses_nothing(tmp_path: Path) -> None:
    report = one_night(faked(), SHORT, tmp_path, "sqlite")
    check_sound(report)
    assert report.counts["SQLite locked by another process"] > 0


@pytest.mark.postgres
@pytest.mark.slow
def test_a_night_with_every_kind_of_receiver_on_postgresql(tmp_path: Path) -> None:
    plan = dataclasses.replace(SHORT, seconds=30.0, job_clients=6, webhooks=Plan.webhooks)
    report = one_night(faked(), plan, tmp_path, None)
    check_sound(report)
    assert report.counts["webhooks arrived"] > 0


@pytest.mark.slow
def test_the_command_reports_a_real_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=10, null_label=True)
    out, log = tmp_path / "soak.json", tmp_path / "soak.log"
    status = command.main(
        ["--minutes=0.2", "--clients=2", "--job-clients=1", "--readers=1", "--jobs-url=sqlite",
         f"--checkpoint={checkpoint}", "--runtime=eager", f"--out={out}", f"--log={log}"]
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert (status, report["faults"]) == (0, []), report["problems"]
    assert "| lost | 0 |" in capsys.readouterr().out
    assert "engine" in log.read_text()
