"""The engine's steps against a bare loop's."""

from pathlib import Path

import pytest

from benchmarks.engine_rate import EngineRate, Reading, bare_loop, difference
from tests.tiny import save_tiny


def test_the_ratio_is_the_part_of_the_time_that_the_network_needs_alone() -> None:
    rate = EngineRate(10.0, {8: 100, 16: 50}, {8: 0.04, 16: 0.1})
    assert rate.steps_per_second == 15.0
    assert rate.bare_steps_per_second == pytest.approx(150 / 9)
    assert rate.ratio == pytest.approx(0.9)


def test_steps_between_two_readings() -> None:
    assert difference(Reading(0, {8: 5, 16: 7}), Reading(1, {4: 1, 8: 5, 16: 9})) == {4: 1, 16: 2}


def test_the_bare_loop_runs_the_engines_runtime(tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=3)
    taken = bare_loop(str(checkpoint), "eager", 1, [4, 8], seconds=0.01)
    assert list(taken) == [4, 8] and min(taken.values()) > 0
