"""The report: what it calls a fault, and its table, also of a run that was cut."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from benchmarks.resources import MIB
from benchmarks.soak import report as module
from benchmarks.soak.plan import Plan
from benchmarks.soak.report import End, Report
from benchmarks.soak.watch import SPARE, Rest

REST = Rest(20, 8, 9, 26)
SOUND = Report(
    plan=Plan(3600.0), database="sqlite", disk="a full disk", seconds=3600.0,
    counts={"answers with the known bytes": 9, "jobs finished": 3, "503, asked again": 2},
    problems=[], starts=4, api_peak=200 * MIB, api_slope=2.0, engine_peak=900 * MIB,
    engine_slope=math.nan, end=End(REST, REST, {"jobs": 0}, []),
)  # fmt: skip


def left(after: Rest = REST, jobs: int = 0, files: tuple[str, ...] = ()) -> Report:
    return dataclasses.replace(SOUND, end=End(REST, after, {"jobs": jobs}, files))


def counted(name: str, count: int) -> Report:
    return dataclasses.replace(SOUND, counts={**SOUND.counts, name: count})


def test_a_night_without_faults_has_none() -> None:
    assert SOUND.faults == []
    assert left(after=Rest(20 + SPARE, 8, 9, 26)).faults == []


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (counted("lost", 1), "lost: 1"),
        (counted("wrong", 2), "wrong: 2"),
        (counted("servers that ended badly", 1), "servers that ended badly: 1"),
        (counted("lines of tracebacks", 1), "lines of tracebacks: 1"),
        (counted("processes left over", 1), "processes left over: 1"),
        (counted("jobs finished", 0), "jobs finished: none"),
        (dataclasses.replace(SOUND, api_peak=301 * MIB), "301 MiB"),
        (dataclasses.replace(SOUND, api_slope=60.0), "grows by 60 MiB an hour"),
        (dataclasses.replace(SOUND, api_slope=math.nan), "grows by nan MiB an hour"),
        (dataclasses.replace(SOUND, end=None), "the soak is not over"),
        (left(after=Rest(21 + SPARE, 8, 9, 26)), "files or threads left over"),
        (left(jobs=1), "rows left over in jobs: 1"),
        (left(files=("job/000001",)), "files left over: 1"),
    ],
)
def test_every_fault_is_told(report: Report, fault: str) -> None:
    (told,) = report.faults
    assert fault in told


def test_a_short_night_is_not_judged_by_its_growth() -> None:
    assert dataclasses.replace(SOUND, plan=Plan(300.0), api_slope=500.0).faults == []


def test_a_saved_report_shows_its_table_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = dataclasses.replace(SOUND, end=None, problems=["12:00:00 lost: one"])
    for report, status in ((SOUND, 0), (cut, 1)):
        path = tmp_path / "soak.json"
        report.save(path)
        assert module.main([str(path)]) == status
        out = capsys.readouterr().out
        assert report.table() in out
        assert all(text in out for text in (*report.problems, *report.faults))
    assert "| 60 minutes, 8 + 4 + 4 clients, sqlite, a full disk |  |" in out
    assert "| 503, asked again | 2 |" in out
    assert json.loads(path.read_text())["engine_slope"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["soak.json"]
