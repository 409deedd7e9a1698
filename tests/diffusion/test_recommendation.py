"""What a card recommends: the rule, and what is refused."""

import re
from typing import Any

import pytest

from diffusion.fields import ConfigError
from diffusion.recommendation import check_recommended, choose

TUNED = {"unipc": {"2": [100, 40]}}
GOOD = {"sampler": "unipc", "steps": 2, "spacing": "tuned"}


def row(name: str, steps: int, frechet: float, **changes: Any) -> dict[str, Any]:
    interval = [frechet - 0.1, frechet + 0.1]
    usual = {"spacing": "even", "guidance": 0.5, "images": 1000, "frechet_interval": interval}
    return {"name": name, "steps": steps, "frechet": frechet, **usual, **changes}


def test_the_fewest_steps_within_the_noise_of_the_best_are_recommended() -> None:
    rows = [row("ddim", 50, 1.0), row("dpmpp", 20, 1.05), row("unipc", 8, 1.09, spacing="karras")]
    worse = [row("unipc", 5, 1.2), row("ipndm", 8, 1.1)]
    assert choose(rows + worse) == {"sampler": "unipc", "steps": 8, "spacing": "karras"}


def test_only_rows_of_one_guidance_and_number_of_images_are_compared() -> None:
    rows = [row("ddim", 50, 1.0), row("dpmpp", 20, 1.05)]
    others = [row("unipc", 4, 0.2, guidance=2.0), row("unipc", 5, 0.1, images=9999)]
    assert choose(rows + others) == {"sampler": "dpmpp", "steps": 20, "spacing": "even"}


def test_one_row_alone_recommends_nothing() -> None:
    assert choose([]) == choose([row("ddim", 50, 1.0)]) == {}


@pytest.mark.parametrize(
    ("recommended", "message"),
    [
        ({"sampler": "unipc"}, "recommended: ['sampler'] is not allowed; it must be sampler, st"),
        ({**GOOD, "sampler": "heun"}, "recommended.sampler: 'heun' is not allowed; it must be one"),
        ({**GOOD, "steps": 101}, "recommended.steps: 101 is not allowed; it must be 1..100"),
        ({**GOOD, "steps": "8"}, "recommended.steps: '8' is not allowed; it must be 1..100"),
        ({**GOOD, "spacing": [1]}, "recommended.spacing: [1] is not allowed; it must be one of"),
        ({**GOOD, "steps": 3}, "recommended: no list of 3 steps of unipc is tuned; there are:"),
    ],
)
def test_a_card_that_is_not_so_is_refused(recommended: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_recommended(recommended, TUNED, 100)
    check_recommended(GOOD, TUNED, 100)
    check_recommended({}, {}, 100)
