"""Growth over time, from what processes held."""

import math

import pytest

from benchmarks.resources import MIB, Holding, slope, without_youth


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
