"""How a network shares the machine, by its board and its curve."""

import pytest

from app.engine.latency_curve import LatencyCurve
from tests.app.engine.networks import network


@pytest.mark.parametrize(("max_rows", "lanes"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 2)])
def test_a_lane_has_two_rows_at_least(max_rows: int, lanes: int) -> None:
    assert network(LatencyCurve({max_rows: 1.0}), 2).lanes == lanes


def test_as_many_batches_are_under_way_as_its_lanes_and_their_depth_allow() -> None:
    assert network(num_lanes=2).places == 2
    assert network(depth=3).places == 3


def test_networks_run_beside_each_other_where_they_share_the_machine_alike() -> None:
    lanes, whole, queued = network(num_lanes=2), network(), network(depth=2)
    assert lanes.runs_beside(network(num_lanes=2)) and queued.runs_beside(queued)
    assert not lanes.runs_beside(whole) and not whole.runs_beside(queued)
    assert repr(network(key="mnist#1")) == "<Network mnist#1>"
