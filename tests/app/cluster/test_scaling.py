"""How many engines the autoscaler is told that there should be."""

from types import SimpleNamespace

from app.cluster.scaling import BacklogPolicy


def wanted(*seconds: float, least: int = 1, most: int = 9) -> int:
    context = SimpleNamespace(
        aggregated_metrics={"backlog_seconds": dict(enumerate(seconds))},
        capacity_adjusted_min_replicas=least,
        capacity_adjusted_max_replicas=most,
    )
    number, state = BacklogPolicy(10.0)(context)
    assert state == {}
    return number


def test_there_are_as_many_as_do_what_waits_in_the_time_that_is_set() -> None:
    assert wanted(5.0) == 1
    assert wanted(25.0, 10.0, 1.0) == 4
    assert wanted(0.0) == 1


def test_there_are_never_fewer_or_more_than_are_allowed() -> None:
    assert wanted(0.0, least=2) == 2
    assert wanted(1000.0, most=3) == 3
