"""The way of a chain that goes back up."""

import pytest

from diffusion.course import Move, resampled, resampled_steps


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
    assert len(moves) == resampled_steps(S, resamplings, jump)


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
