"""What a card recommends: the rule, and what is refused."""

import re
from typing import Any

import pytest

from diffusion.fields import ConfigError
from diffusion.recommendation import NAMES, check_recommended, choose

TUNED = {"unipc": {"2": [100, 40]}}
GOOD = {"sampler": "unipc", "steps": 2, "spacing": "tuned"}


def row(name: str, steps: int, frechet: float, **changes: Any) -> dict[str, Any]:
    interval = [frechet - 0.1, frechet + 0.1]
    usual = {"spacing": "even", "guidance": 0.5, "images": 1000, "frechet_interval": interval}
    return {"name": name, "steps": steps, "frechet": frechet, **usual, **changes}


def test_the_fewest_steps_within_the_noise_of_the_best_are_recommended() -> None:
    rows = [row("ddim", 50, 1.0), row("dpmpp", 20, 1.05), row("unipc", 8, 1.09, spacing="karras")]
    worse = [row("unipc", 5, 1.2), row("ipndm", 8, 1.1)]
    chosen = {"sampler": "unipc", "steps": 8, "spacing": "karras"}
    assert choose(rows + worse) == {**chosen, "guidance": 0.5}


def test_only_rows_of_one_guidance_and_number_of_images_are_compared() -> None:
    rows = [row("ddim", 50, 1.0), row("dpmpp", 20, 1.05)]
    others = [row("unipc", 4, 0.2, guidance=2.0), row("unipc", 5, 0.1, images=9999)]
    chosen = choose(rows + others)
    assert {name: chosen[name] for name in NAMES} == {
        "sampler": "dpmpp",
        "steps": 20,
        "spacing": "even",
    }


def test_one_row_alone_recommends_no_sampler() -> None:
    assert choose([]) == choose([row("ddim", 50, 1.0, guidance=0.0)]) == {}
    assert choose([row("ddim", 50, 1.0)]) == {"guidance": 0.5}


def test_the_weakest_guidance_within_the_noise_of_the_best_is_recommended() -> None:
    rows = [row("ddim", 50, g_distance, guidance=g) for g, g_distance in ((0.0, 3.0), (1.0, 1.05))]
    assert choose([*rows, row("ddim", 50, 1.0, guidance=2.0)]) == {"guidance": 1.0}
    assert choose([*rows, row("ddim", 50, 2.95, guidance=2.0)]) == {"guidance": 1.0}
    assert choose([*rows[:1], row("ddim", 50, 2.95, guidance=2.0)]) == {}, "none is as good"


def test_guidances_are_compared_on_as_many_images() -> None:
    rows = [row("ddim", 50, 3.0, guidance=0.0), row("ddim", 50, 1.0, guidance=1.0)]
    assert choose([*rows, row("ddim", 50, 0.5, guidance=4.0, images=9999)]) == {"guidance": 1.0}


@pytest.mark.parametrize(
    ("recommended", "message"),
    [
        ({"sampler": "unipc"}, "recommended: ['sampler'] is not allowed; it must be sampler, st"),
        ({**GOOD, "sampler": "heun"}, "recommended.sampler: 'heun' is not allowed; it must be one"),
        ({**GOOD, "steps": 101}, "recommended.steps: 101 is not allowed; it must be 1..100"),
        ({**GOOD, "steps": "8"}, "recommended.steps: '8' is not allowed; it must be 1..100"),
        ({**GOOD, "spacing": [1]}, "recommended.spacing: [1] is not allowed; it must be one of"),
        ({"guidance": 21}, "recommended.guidance: 21 is not allowed; it must be 0..20"),
        ({**GOOD, "guidance": True}, "recommended.guidance: True is not allowed; it must be 0..20"),
        ({**GOOD, "steps": 3}, "recommended: no list of 3 steps of unipc is tuned; there are:"),
    ],
)
def test_a_card_that_is_not_so_is_refused(recommended: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_recommended(recommended, TUNED, 100)
    check_recommended(GOOD, TUNED, 100)
    check_recommended({**GOOD, "guidance": 2}, TUNED, 100)
    check_recommended({"guidance": 0.5}, {}, 100)
    check_recommended({}, {}, 100)
