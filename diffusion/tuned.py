"""The lists of timesteps on a model card, which `ddpm tune` found for its checkpoint.

    "tuned": {"unipc": {"5": [1000, 790, 520, 270, 80], "6": [1000, …], …}, …}

by sampler and number of steps: the paper's t, falling from T. Imports no torch.
"""

from collections.abc import Mapping, Sequence

from diffusion.fields import ConfigError, require

Tuned = Mapping[str, Mapping[str, Sequence[int]]]
"""Lists of the paper's t by sampler and number of steps, the number as JSON has keys."""


def tuned_list(tuned: Tuned, sampler: str, num_steps: int) -> Sequence[int]:
    """Return the list for so many steps of a sampler. Raises ValueError, which names those that
    there are, where there is none."""
    found = tuned.get(sampler, {}).get(str(num_steps))
    if found is not None:
        return found
    if not tuned:
        raise ValueError("this checkpoint has no tuned lists; `ddpm tune` makes them")
    there = "; ".join(f"{name} in {_numbers(steps)}" for name, steps in step_counts(tuned).items())
    raise ValueError(f"no list of {num_steps} steps of {sampler} is tuned; there are: {there}")


def has_list(tuned: Tuned, sampler: str, num_steps: int) -> bool:
    """Is there a list for so many steps of a sampler?"""
    return str(num_steps) in tuned.get(sampler, {})


def step_counts(tuned: Tuned) -> dict[str, list[int]]:
    """Return the numbers of steps for which there are lists, rising, by sampler."""
    return {sampler: sorted(map(int, lists)) for sampler, lists in tuned.items()}


def check_tuned(tuned: object, samplers: Sequence[str], num_timesteps: int) -> None:
    """Raise ConfigError, which names the place, where a card's `tuned` is not as said above."""
    for sampler, lists in _table("tuned", tuned).items():
        require(sampler in samplers, "tuned", sampler, f"by sampler: {', '.join(samplers)}")
        require(bool(lists), f"tuned.{sampler}", lists, "a table with a list or more")
        for steps, paper_t in _table(f"tuned.{sampler}", lists).items():
            require(
                _is_list_of(paper_t, steps, num_timesteps), f"tuned.{sampler}", {steps: paper_t},
                "by the number of steps a list of as many timesteps that falls from "
                f"T = {num_timesteps}, above 0",
            )  # fmt: skip


def _table(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: it must be a table")
    return value


def _is_list_of(paper_t: object, steps: str, num_timesteps: int) -> bool:
    if not isinstance(paper_t, list | tuple) or str(len(paper_t)) != steps or not paper_t:
        return False
    if not all(type(t) is int for t in paper_t):
        return False
    falls = all(t > after for t, after in zip(paper_t, [*paper_t[1:], 0], strict=True))
    return falls and paper_t[0] == num_timesteps


def _numbers(steps: Sequence[int]) -> str:
    """Rising numbers as text: `4..20`, or one by one where some between them are missing."""
    if steps[-1] - steps[0] == len(steps) - 1 and len(steps) > 1:
        return f"{steps[0]}..{steps[-1]}"
    return ", ".join(map(str, steps))
