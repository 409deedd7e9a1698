"""How many processors a process may use, on Linux, in containers, and elsewhere."""

import os
from pathlib import Path

import pytest

from diffusion import cores
from diffusion.cores import available_cores


@pytest.fixture(autouse=True)
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve processors, and no limit."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUP", tmp_path / "self")


def group(tmp_path: Path, line: str, **limits: str) -> None:
    """This process is in the group of that line, with files of these contents; `/` in a name is
    written as two underscores, and a dot as one."""
    (tmp_path / "self").write_text(f"{line}\n")
    for name, text in limits.items():
        path = tmp_path / "cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_it_is_those_that_the_process_may_run_on() -> None:
    assert available_cores() == 12


@pytest.mark.parametrize(("count", "expected"), [(8, 8), (None, 1)])
def test_where_no_process_can_be_bound_it_is_all_of_them(
    count: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert available_cores() == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 12),
        ("max 100000", 12),
        ("nonsense", 12),
        ("100000 0", 12),
    ],
)
def test_a_container_has_its_share(tmp_path: Path, limit: str, expected: int) -> None:
    group(tmp_path, "0::/", cpu_max=limit)
    assert available_cores() == expected


def test_a_limit_above_its_own_group_counts_too(tmp_path: Path) -> None:
    group(tmp_path, "0::/a/b", a__cpu_max="300000 100000", a__b__cpu_max="max 100000")
    assert available_cores() == 3


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 12)])
def test_the_older_form_of_limits_is_read(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "self").write_text("7:memory:/box\n4:cpu,cpuacct:/box\n")
    folder = tmp_path / "cgroup" / "cpu,cpuacct" / "box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert available_cores() == expected


def test_a_container_of_the_older_form_sees_its_group_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("4:cpu,cpuacct:/docker/0123\n")
    folder = tmp_path / "cgroup" / "cpu,cpuacct"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000")
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert available_cores() == 2
