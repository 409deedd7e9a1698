"""What processes hold, and their growth over time."""

import math
import os
import subprocess
import sys

import psutil
import pytest

from benchmarks.resources import MIB, Holding, engines, peak_memory, slope, without_youth


def life(pid: int, start: float, level: float, mib_an_hour: float) -> list[Holding]:
    rss = [round((level + mib_an_hour * at / 3600) * MIB) for at in range(0, 600, 10)]
    return [Holding(start + 10 * i, pid, held, 10, 5) for i, held in enumerate(rss)]


def test_growth_is_found_in_each_process_and_a_restart_is_none() -> None:
    assert slope(life(1, 0, 100, 60)) == pytest.approx(60, rel=1e-3)
    assert slope(life(1, 0, 100, 0) + life(2, 600, 300, 0)) == pytest.approx(0, abs=1e-6)
    assert slope(life(1, 0, 300, 60) + life(2, 600, 100, 60)) == pytest.approx(60, rel=1e-3)
    assert math.isnan(slope(life(1, 0, 100, 0)[:1]))


def test_each_process_has_a_youth_of_its_own() -> None:
    grown = without_youth(life(1, 0, 1, 0) + life(2, 600, 1, 0), 100)
    assert [h.at for h in grown if h.pid == 2][0] == 700
    assert [h.at for h in grown if h.pid == 1][0] == 100


def test_the_peak_is_at_least_what_is_held_now() -> None:
    mine = os.getpid()
    assert peak_memory(mine) >= psutil.Process(mine).memory_info().rss - MIB  # sampled in turn


def test_a_process_that_has_ended_holds_nothing_and_is_no_engine() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in [engine.pid for engine in engines(psutil.Process())]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie then
        assert child.pid not in [engine.pid for engine in engines(psutil.Process())]
        with pytest.raises(OSError, match="ended"):
            peak_memory(child.pid)
