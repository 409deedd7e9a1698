"""Which sampler, steps and spacing a checkpoint's card recommends, and by which rule.

    "recommended": {"sampler": "unipc", "steps": 8, "spacing": "tuned"}

Imports no torch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from diffusion.fields import ConfigError, require
from diffusion.spacing import SamplerName, SpacingName
from diffusion.tuned import Tuned, tuned_list

NAMES = ("sampler", "steps", "spacing")


def check_recommended(recommended: Mapping[str, Any], tuned: Tuned, num_timesteps: int) -> None:
    """Raise ConfigError where a card's `recommended` is not as this module says; `tuned` are the
    card's lists. None may be recommended."""
    if not recommended:
        return
    names = sorted(recommended)
    require(names == sorted(NAMES), "recommended", names, ", ".join(NAMES))
    sampler, steps, spacing = (recommended[name] for name in NAMES)
    samplers, spacings = get_args(SamplerName), get_args(SpacingName)
    require(sampler in samplers, "recommended.sampler", sampler, f"one of {', '.join(samplers)}")
    is_count = type(steps) is int and 1 <= steps <= num_timesteps
    require(is_count, "recommended.steps", steps, f"1..{num_timesteps}")
    require(spacing in spacings, "recommended.spacing", spacing, f"one of {', '.join(spacings)}")
    if spacing == "tuned":
        try:
            tuned_list(tuned, sampler, steps)
        except ValueError as error:
            raise ConfigError(f"recommended: {error}") from None


def choose(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Choose the fewest steps that are as good as any, of the samplers that were measured.

    Each of `rows` has the sampler's `name`, `steps`, `spacing` and `guidance`, the number of
    `images`, their `frechet` distance and its interval. Those of one guidance and number of images
    are compared, as many as there are. As good as the best are those whose distance is not above
    the end of its interval; of equally few steps the nearest to the data is chosen. Returns {}
    where fewer than two can be compared.
    """
    alike = Counter((row["guidance"], row["images"]) for row in rows)
    if not alike:
        return {}
    (usual, count), *_ = sorted(alike.items(), key=lambda item: (-item[1], -item[0][1]))
    if count < 2:
        return {}
    compared = [row for row in rows if (row["guidance"], row["images"]) == usual]
    best = min(compared, key=lambda row: row["frechet"])
    good = [row for row in compared if row["frechet"] <= best["frechet_interval"][1]]
    chosen = min(good, key=lambda row: (row["steps"], row["frechet"]))
    return {"sampler": chosen["name"], "steps": chosen["steps"], "spacing": chosen["spacing"]}
