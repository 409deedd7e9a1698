"""When requests are sent, and what is made of their answers."""

import math
import statistics

import pytest

from benchmarks.load import Answer, ClosedLoop, poisson_schedule
from benchmarks.percentile import percentile

MIX = {"small": 3.0, "large": 1.0}


def answer(finished: float, *, images: int = 1, error: str | None = None) -> Answer:
    return Answer("small", images, finished, 1.0 if error is None else math.inf, error=error)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert poisson_schedule(MIX, 5, 10, seed=1) == poisson_schedule(MIX, 5, 10, seed=1)
    assert poisson_schedule(MIX, 5, 10, seed=1) != poisson_schedule(MIX, 5, 10, seed=2)


def test_arrivals_are_poisson_at_the_rate_and_kinds_follow_their_weights() -> None:
    arrivals = poisson_schedule(MIX, 50, 400, seed=0)
    assert len(arrivals) == pytest.approx(50 * 400, rel=0.03)
    gaps = [b.at - a.at for a, b in zip(arrivals, arrivals[1:], strict=False)]
    assert min(gaps) > 0 and arrivals[-1].at < 400
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05), "as long as their mean"
    assert sum(a.kind == "large" for a in arrivals) / len(arrivals) == pytest.approx(0.25, abs=0.02)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(v) for v in range(100, 0, -1)]
    assert [percentile(values, p) for p in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 50) == 7.0
    assert math.isnan(percentile([], 50))


def test_what_never_came_counts_as_late() -> None:
    assert percentile([1.0, 1.0, math.inf], 50) == 1.0
    assert percentile([1.0, 1.0, math.inf], 95) == math.inf


def test_a_closed_loop_is_measured_between_answers() -> None:
    ramp = [answer(1.0), answer(1.0)]
    loop = ClosedLoop([*ramp, answer(2.0), answer(2.0), answer(3.0), answer(3.0)], 2, 3.5)
    assert loop.images_per_second == 2.0, "bursts of two a second, from the first to the last"
    cut = ClosedLoop([*ramp, answer(2.0), answer(2.0), answer(3.0)], 2, 3.0)
    assert cut.images_per_second == 2.0, "the half of a burst counts as little as its second"


def test_a_closed_loop_counts_neither_errors_nor_what_came_after_its_end() -> None:
    late, failed = answer(9.0), answer(2.5, error="status 503")
    loop = ClosedLoop([answer(1.0), answer(2.0, images=3), failed, late], 1, 3.5)
    assert loop.images_per_second == 3.0
    assert math.isnan(ClosedLoop([answer(1.0), late], 1, 3.5).images_per_second)
