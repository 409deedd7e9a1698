"""An engine hangs when look after look finds it where it was, with something to do."""

from app.pool.watchdog import Watchdog

STARTING, AT_1, AT_2 = (7, False, 0), (7, True, 1), (7, True, 2)
"""What is seen: the pid, whether it is ready, its oldest step."""


def still_after(*looks: tuple[tuple[int, bool, int], bool]) -> float:
    watchdog = Watchdog(0.5)
    for state, may_rest in looks:
        watchdog.look(state, may_rest=may_rest)
    return watchdog.still_seconds


def test_looks_at_the_same_step_add_up() -> None:
    assert still_after(*[(AT_1, False)] * 4) == 1.5
    assert still_after(*[(STARTING, False)] * 3) == 1.0


def test_a_step_or_another_state_counts_as_a_sign_of_life() -> None:
    assert still_after((AT_1, False), (AT_1, False), (AT_2, False)) == 0.0
    assert still_after((STARTING, False), (STARTING, False), (AT_1, False)) == 0.0


def test_an_engine_with_nothing_to_do_may_stand_still() -> None:
    assert still_after(*[(AT_1, True)] * 10) == 0.0
