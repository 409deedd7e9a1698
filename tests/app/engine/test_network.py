"""A network that is loaded: how many of its batches may be under way at once, and beside which."""

import subprocess
import sys

import pytest

from app.engine.latency_curve import LatencyCurve
from tests.app.engine.networks import network


@pytest.mark.parametrize(
    ("max_rows", "lanes_of_board", "lanes"),
    [(8, 1, 1), (8, 2, 2), (8, 6, 4), (3, 2, 1), (1, 2, 1)],
)
def test_each_lane_in_use_has_two_rows(max_rows: int, lanes_of_board: int, lanes: int) -> None:
    made = network(LatencyCurve({max_rows: 1.0}), lanes_of_board, depth=3)
    assert (made.lanes, made.depth, made.places) == (lanes, 3, 3 * lanes)


def test_networks_run_beside_each_other_where_the_machine_is_shared_out_alike() -> None:
    two, also_two = network(num_lanes=2), network(num_lanes=2)
    assert two.runs_beside(two) and two.runs_beside(also_two)
    assert not two.runs_beside(network(num_lanes=1))
    assert not two.runs_beside(network(num_lanes=2, depth=2))
    narrow = network(LatencyCurve({2: 1.0}), num_lanes=2)
    assert not two.runs_beside(narrow), "it uses one of its lanes"


def test_it_is_told_by_its_key() -> None:
    assert repr(network(key="mnist")) == "<Network mnist>"


def test_the_scheduler_reads_it_without_torch() -> None:
    check = "import sys, app.engine.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
