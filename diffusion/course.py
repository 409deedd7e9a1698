"""The way of a chain, which may go back up: which steps it takes, and which states these lead to.

Integers only; torch is not imported, so that a server process can count a chain's steps without it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from diffusion.spacing import Spacing


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
    jump_points = range(1, num_steps - jump + 1, jump)  # by how many steps are to go there
    left = {num_steps - to_go: resamplings - 1 for to_go in jump_points}
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


@dataclass(frozen=True)
class Course:
    """The states that a chain passes: the paper's t of each, by position. A chain that goes back up
    passes some t again."""

    paper_t: tuple[int, ...]

    @classmethod
    def of(cls, spacing: Spacing, resamplings: int = 1, jump: int = 1) -> "Course":
        """The course of a chain over the kept timesteps, by RePaint with more than one
        resampling. Raises ValueError as `resampled` does."""
        if resamplings == 1:
            return cls(spacing.paper_t)
        moves = resampled(len(spacing), resamplings, jump)
        return cls((spacing.paper_t[0], *(spacing.paper_t[move.to] for move in moves)))

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.paper_t) - 1

    def stretches(self, t_high: int, t_low: int) -> tuple[int, ...]:
        """The steps that begin at t_low..t_high: the first such position, the first after it that
        is not, and so on; (0, 0) for none."""
        inside = [t_low <= t <= t_high for t in self.paper_t[:-1]]
        turns = [k for k, is_in in enumerate(inside) if is_in != (k > 0 and inside[k - 1])]
        if len(turns) % 2:
            turns.append(len(inside))
        return tuple(turns) or (0, 0)

    def positions_of(self, paper_ts: Iterable[int]) -> list[int]:
        """The positions of the states whose t are nearest: increasing, and each once. Of two
        equally near it is the noisier, of a t that comes again the last time."""
        last = {t: position for position, t in enumerate(self.paper_t)}
        nearest = (min(last, key=lambda t: (abs(t - wanted), -t)) for wanted in paper_ts)
        return sorted({last[t] for t in nearest})

    def even_positions(self, count: int) -> list[int]:
        """`count` positions at even distances, both ends among them (so count >= 2); fewer where
        the chain has fewer states."""
        return sorted({round(i * len(self) / (count - 1)) for i in range(count)})
