"""What a latency curve says of batch sizes."""

import pytest

from app.engine.latency_curve import LatencyCurve


@pytest.mark.parametrize(
    ("curve", "sizes"),
    [
        ({1: 1.0, 2: 1.9, 4: 3.8, 8: 7.6}, (1, 2)),  # nothing is gained by more than two
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.58}, (1, 2, 4)),  # 8 has 1% more rows a second
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.5}, (1, 2, 4, 8)),  # 4% more
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, (1, 2, 4, 8)),
        ({1: 1.0, 2: 2.0, 4: 4.0}, (1, 2)),  # guidance takes two rows
        ({4: 1.0, 8: 5.0}, (4,)),
        ({64: 1.0}, (64,)),
    ],
)
def test_batches_are_as_large_as_the_latency_curve_rewards(
    curve: dict[int, float], sizes: tuple[int, ...]
) -> None:
    assert LatencyCurve(curve).up_to_the_knee().sizes == sizes


def test_a_step_takes_as_long_as_one_of_the_next_size() -> None:
    curve = LatencyCurve({8: 8.0, 1: 2.0, 4: 5.0})
    assert curve.sizes == (1, 4, 8)
    assert [curve.seconds(rows) for rows in (1, 2, 4, 5, 8)] == [2.0, 5.0, 5.0, 8.0, 8.0]
    assert curve.seconds_per_row == 1.0


def test_fewer_rows_at_once_get_more_done_than_a_batch_that_is_mostly_padding() -> None:
    curve = LatencyCurve({1: 2.0, 2: 3.0, 4: 5.0, 8: 9.0})
    assert [curve.best_rows(rows) for rows in range(1, 10)] == [1, 2, 2, 4, 4, 4, 4, 8, 8]
    assert curve.rate(5) == 0.8
    flat = LatencyCurve({8: 1.0})
    assert [flat.best_rows(rows) for rows in (1, 3, 8)] == [1, 3, 8]


def test_with_less_memory_the_smaller_sizes_are_left_or_a_part_of_the_smallest() -> None:
    curve = LatencyCurve({4: 5.0, 8: 9.0})
    assert curve.up_to(4).sizes == (4,)
    assert curve.up_to(2).sizes == (2,) and curve.up_to(2).seconds(1) == 5.0
