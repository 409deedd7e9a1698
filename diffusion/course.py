"""The way of a chain that goes back up: which steps it takes, and which states these lead to.

Integers only; torch is not imported, so that a server process can count a chain's steps without it.
"""

from typing import NamedTuple


class Move(NamedTuple):
    """One step of a chain, and where it leads."""

    step: int  # which of the S steps of the sampler
    to: int  # the position of the next state: step + 1, or one before, where it jumps back up


def resampled(num_steps: int, resamplings: int, jump: int) -> list[Move]:
    """Return the moves of RePaint over S steps: from each of its jump points the chain goes back up
    by `jump` steps and down again, so that this part is made `resamplings` times (Lugmayr et al.
    2022, section 4.2).

    Jump points are the states with 1, 1 + jump, 1 + 2 jump, … steps to go, as far as there is room
    above, as in the paper's code; with a jump of 1 that is Algorithm 1. Raises ValueError unless
    1 <= resamplings, and 1 <= jump < S where there is more than one.
    """
    if resamplings < 1:
        raise ValueError(f"resamplings: {resamplings} is not allowed; it must be 1 or more")
    if resamplings > 1 and not 1 <= jump < num_steps:
        raise ValueError(
            f"jump: {jump} is not allowed; it must be 1..{num_steps - 1}, less than the chain's "
            f"{num_steps} steps"
        )
    left = {num_steps - to_go: resamplings - 1 for to_go in _jump_points(num_steps, jump)}
    moves: list[Move] = []
    position = 0
    while position < num_steps:
        to = position + 1
        if left.get(to):
            left[to] -= 1
            to -= jump
        moves.append(Move(position, to))
        position = to
    return moves


def resampled_steps(num_steps: int, resamplings: int, jump: int) -> int:
    """Return the number of those moves."""
    extra = (resamplings - 1) * jump * len(_jump_points(num_steps, jump)) if resamplings > 1 else 0
    return num_steps + extra


def _jump_points(num_steps: int, jump: int) -> range:
    """How many steps are to go at each state from which a chain jumps back up."""
    return range(1, num_steps - jump + 1, jump)
