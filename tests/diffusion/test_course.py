"""The way of a chain that goes back up."""

import pytest

from diffusion.course import Course, Move, resampled
from diffusion.spacing import Spacing


def plainly(S: int, resamplings: int, jump: int) -> list[tuple[int, int]]:
    """Pairs of states, counted by the steps to go as in the paper's code, where the image is -1: a
    list of states that falls by one, and from a jump point rises by `jump`."""
    jumps = dict.fromkeys(range(0, S - jump, jump), resamplings - 1)
    at, states = S - 1, [S - 1]
    while at >= 0:
        at -= 1
        states.append(at)
        if jumps.get(at, 0) > 0:
            jumps[at] -= 1
            at += jump
            states.append(at)
    return list(zip(states, states[1:], strict=False))


@pytest.mark.parametrize(
    ("S", "resamplings", "jump"), [(6, 1, 10), (6, 2, 1), (10, 3, 4), (50, 10, 10), (7, 5, 6)]
)
def test_the_moves_are_those_of_the_papers_code(S: int, resamplings: int, jump: int) -> None:
    moves = resampled(S, resamplings, jump)
    expected = plainly(S, resamplings, jump)
    # The paper's code makes a jump a move of its own; here it belongs to the step before
    told = [(S - 1 - a, S - 1 - b) for a, b in expected]
    joined = [
        Move(a, after[1] if after[1] < after[0] else b)
        for (a, b), after in zip(told, [*told[1:], (0, 1)], strict=True)
        if b > a
    ]
    assert moves == joined
    jump_points = len(range(1, S - jump + 1, jump))
    assert len(moves) == S + (resamplings - 1) * jump * jump_points


def test_with_a_jump_of_one_it_is_algorithm_1() -> None:
    S, resamplings = 5, 3
    expected = []
    for k in range(S):  # t = T, …, 1
        to_go = S - k
        for u in range(1, resamplings + 1):
            is_last = u == resamplings or to_go == 1  # line 9: u < U and t > 1
            expected.append(Move(k, k + 1 if is_last else k))
            if to_go == 1:
                break
    assert resampled(S, resamplings, 1) == expected


def test_a_jump_that_the_chain_has_no_room_for_is_refused() -> None:
    assert len(resampled(4, 1, 10)) == 4, "of no account where nothing is resampled"
    for jump in (0, 4, 10):
        with pytest.raises(ValueError, match=f"jump: {jump} is not allowed; it must be 1..3"):
            resampled(4, 2, jump)
    with pytest.raises(ValueError, match="resamplings: 0 is not allowed; it must be 1 or more"):
        resampled(4, 0, 1)


def test_positions_at_even_distances_include_both_ends() -> None:
    def even(steps: int, count: int) -> list[int]:
        return Course.of(Spacing.even(1000, steps)).even_positions(count)

    assert even(1000, 11) == list(range(0, 1001, 100))
    assert even(4, 2) == [0, 4]
    assert even(2, 100) == [0, 1, 2]


def test_a_t_that_is_not_passed_has_the_position_of_the_nearest_one() -> None:
    course = Course((1000, 750, 500, 250, 0))
    assert course.positions_of([0, 740, 760, 1000]) == [0, 1, 4]
    assert course.positions_of([875]) == [0], "of two equally near, the noisier"


def test_a_t_that_comes_again_has_the_position_of_the_last_time() -> None:
    course = Course.of(Spacing((249, 499, 749, 999)), resamplings=2, jump=2)
    assert course.paper_t == (1000, 750, 500, 750, 500, 250, 0)
    assert len(course) == 6
    assert course.positions_of([750, 500]) == [3, 4]


def test_an_interval_of_t_has_the_stretches_of_steps_within_it() -> None:
    course = Course((1000, 750, 500, 250, 0))
    assert course.stretches(1000, 0) == (0, 4)
    assert course.stretches(750, 500) == (1, 3)
    assert course.stretches(749, 251) == (2, 3)
    assert course.stretches(249, 0) == (0, 0)
    again = Course((1000, 750, 500, 750, 500, 250, 0))
    assert again.stretches(750, 750) == (1, 2, 3, 4)
    assert again.stretches(600, 0) == (2, 3, 4, 6)
