"""The engine's steps against a bare loop's."""

from pathlib import Path

import pytest

from benchmarks.engine_rate import BareLoop, EngineRate, Reading, difference
from tests.tiny import save_tiny


def test_shares_are_the_parts_of_the_time_that_the_steps_need_without_the_engine() -> None:
    rate = EngineRate(10.0, {8: 100, 16: 50}, {8: 0.04, 16: 0.11}, {8: 0.04, 16: 0.1})
    assert rate.steps_per_second == 15.0
    assert rate.share_of_bare == pytest.approx(0.95)
    assert rate.share_of_network == pytest.approx(0.9)


def test_steps_between_two_readings() -> None:
    assert difference(Reading(0, {8: 5, 16: 7}), Reading(1, {4: 1, 8: 5, 16: 9})) == {4: 1, 16: 2}


@pytest.mark.parametrize("runtime", ["eager", "openvino"])
def test_the_bare_loop_runs_the_engines_runtime(runtime: str, tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=3)
    bare = BareLoop(str(checkpoint), runtime, "cpu", 2, [4, 8])
    for size in (2, 4):
        for has_update in (False, True):
            assert bare.seconds(size, 0.01, has_update=has_update) > 0
