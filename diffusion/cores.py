"""How many processors this process may use. Imports no torch."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the groups of processes, and what share of the processors each may use."""
OWN_GROUP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Count the processors that this process may use: those that it may run on, and no more than
    its control group's share, such as a container's `--cpus`. At least 1.

    A share is rounded down: a thread more than it would have all of them wait in turn.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(share) for share in _shares())]))


def _shares() -> list[float]:
    """The limits of this process' control group and of those above it, in processors."""
    shares = []
    for folder in _groups():
        try:
            quota, period = _limit(folder)
            shares.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue  # no limit here: "max", or no such file
    return [share for share in shares if share > 0]  # version 1 writes -1 for no limit


def _groups() -> list[Path]:
    """The folders of the groups of this process, and of all groups above them."""
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            # Version 2 has one tree; version 1 has one for each set of controllers.
            root = CGROUPS / controllers
            own = root / path.lstrip("/")
            folders += [own, *(above for above in own.parents if above.is_relative_to(root))]
    return folders


def _limit(folder: Path) -> tuple[str, str]:
    """The processor time that a group has in each period, and the period, both in microseconds."""
    if (folder / "cpu.max").exists():  # version 2
        quota, period = (folder / "cpu.max").read_text().split()
        return quota, period
    files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
    quota, period = (file.read_text() for file in files)
    return quota, period
