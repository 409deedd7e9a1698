"""The engine's steps against a bare loop's."""

import pytest

from benchmarks.engine_rate import EngineRate, Reading, difference


def test_shares_are_the_parts_of_the_time_that_the_steps_need_without_the_engine() -> None:
    rate = EngineRate(10.0, {8: 100, 16: 50}, {8: 0.04, 16: 0.11}, {8: 0.04, 16: 0.1})
    assert rate.steps_per_second == 15.0
    assert rate.share_of_bare == pytest.approx(0.95)
    assert rate.share_of_network == pytest.approx(0.9)


def test_steps_between_two_readings() -> None:
    assert difference(Reading(0, {8: 5, 16: 7}), Reading(1, {4: 1, 8: 5, 16: 9})) == {4: 1, 16: 2}
