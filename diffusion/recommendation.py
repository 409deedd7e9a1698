"""Which sampler, steps, spacing and guidance a checkpoint's card recommends, and by which rule.

    "recommended": {"sampler": "unipc", "steps": 8, "spacing": "tuned", "guidance": 1.0}

The first three come together; without `guidance` none is recommended, which is as 0.

Imports no torch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from diffusion.fields import ConfigError, require
from diffusion.labels import MAX_GUIDANCE
from diffusion.spacing import SamplerName, SpacingName
from diffusion.tuned import Tuned, tuned_list

NAMES = ("sampler", "steps", "spacing")


def check_recommended(recommended: Mapping[str, Any], tuned: Tuned, num_timesteps: int) -> None:
    """Raise ConfigError where a card's `recommended` is not as this module says; `tuned` are the
    card's lists. None may be recommended."""
    guidance = recommended.get("guidance", 0.0)
    is_guidance = type(guidance) in (int, float) and 0 <= guidance <= MAX_GUIDANCE
    require(is_guidance, "recommended.guidance", guidance, f"0..{MAX_GUIDANCE}")
    names = sorted(recommended.keys() - {"guidance"})
    if not names:
        return
    allowed = f"{', '.join(NAMES)}, together, and guidance"
    require(names == sorted(NAMES), "recommended", sorted(recommended), allowed)
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
    """Choose what a card recommends of the samplers that were measured.

    Each of `rows` has the sampler's `name`, `steps`, `spacing` and `guidance`, the number of
    `images`, their `frechet` distance and its interval. Returns {} where too little can be
    compared.
    """
    guidance = choose_guidance(rows)
    return {**choose_sampler(rows), **({"guidance": guidance} if guidance else {})}


def choose_sampler(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Choose the fewest steps that are as good as any.

    Rows of one guidance and number of images are compared, as many as there are. As good as the
    best are those whose distance is not above the end of its interval; of equally few steps the
    nearest to the data is chosen. Returns {} where fewer than two can be compared.
    """
    alike = Counter((row["guidance"], row["images"]) for row in rows)
    if not alike:
        return {}
    (usual, count), *_ = sorted(alike.items(), key=lambda item: (-item[1], -item[0][1]))
    if count < 2:
        return {}
    compared = [row for row in rows if (row["guidance"], row["images"]) == usual]
    chosen = min(as_good_as_any(compared), key=lambda row: (row["steps"], row["frechet"]))
    return {"sampler": chosen["name"], "steps": chosen["steps"], "spacing": chosen["spacing"]}


def choose_guidance(rows: Sequence[Mapping[str, Any]]) -> float:
    """Choose the weakest guidance that is as good as any, by the same measure.

    Rows of one number of images are compared: the number for which most guidances were measured.
    Returns 0 where there are no rows.
    """
    measured: dict[int, set[float]] = {}
    for row in rows:
        measured.setdefault(row["images"], set()).add(row["guidance"])
    if not measured:
        return 0.0
    images = max(measured, key=lambda count: (len(measured[count]), count))
    compared = [row for row in rows if row["images"] == images]
    return float(min(row["guidance"] for row in as_good_as_any(compared)))


def as_good_as_any(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows whose distance is not above the end of the best one's interval."""
    best = min(rows, key=lambda row: row["frechet"])
    return [row for row in rows if row["frechet"] <= best["frechet_interval"][1]]
