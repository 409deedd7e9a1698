"""How samplers are named, and how little can be measured."""

from typing import Any

import pytest

from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.plan import OLDER_KEYS, Sampler, Settings


def test_a_sampler_is_a_name_its_steps_and_its_guidance() -> None:
    assert Sampler.parse("ddpm", 1000) == ("ddpm", 1000, 0)
    assert Sampler.parse("ddim", 1000) == ("ddim", 50, 0)
    assert Sampler.parse("ddim@1.5", 1000) == ("ddim", 50, 1.5)
    assert str(Sampler.parse("ddim:7@1.50", 1000)) == "ddim:7@1.5"
    assert str(Sampler.parse("dpmpp:7", 1000)) == "dpmpp:7"
    for wrong, reason in (
        ("euler:5", "'euler' is not ddpm, ddim or dpmpp"),
        ("ddim:0", "steps must be 1..1000"),
        ("ddim:1001", "steps must be 1..1000"),
        ("ddim:many", "steps must be 1..1000"),
        ("ddim:5@-1", "guidance must be a number, 0 or more"),
        ("ddim:5@nan", "guidance must be a number, 0 or more"),
    ):
        with pytest.raises(EvaluationError, match=reason):
            Sampler.parse(wrong, 1000)


def settings(**changed: Any) -> Settings:
    usual: dict[str, Any] = {"num_images": 5, "num_samples": 10, "samplers": (Sampler("ddim", 4),)}
    return Settings(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_samples": 9}, "samples: 9 is not allowed; it must be 10 or more"),
        ({"num_terms": 1}, "terms: 1 is not allowed; it must be 2 or more"),
        ({"num_train_images": 0}, "train-images: 0 is not allowed; it must be 1 or more"),
        ({"seed": -1}, "seed: -1 is not allowed; it must be 0 or more"),
        ({"num_full": 3}, "full: all terms are measured already; give --terms, too"),
        (
            {"num_full": 6, "num_terms": 2},
            "full: 6 is not allowed; it must be at most the images, 5",
        ),
        (
            {"samplers": (Sampler("ddim", 4), Sampler("ddpm", 4), Sampler("ddim", 4))},
            "sampler: 'ddim:4' is given twice",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_by_the_flag(
    changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        settings(**changed)


def test_settings_are_the_flags_that_give_them() -> None:
    assert settings(num_terms=2).flags() == (
        "--images 5 --terms 2 --samples 10 --seed 0 --batch-size 64 --sampler ddim:4"
    )
    more = settings(num_terms=2, num_train_images=3, num_full=4, labels="data")
    assert more.flags() == (
        "--images 5 --terms 2 --train-images 3 --full 4 --samples 10 --labels data --seed 0 "
        "--batch-size 64 --sampler ddim:4"
    )


def test_settings_that_older_versions_did_not_know_have_the_value_that_they_used() -> None:
    key = settings().key()
    assert {name: key[name] for name in OLDER_KEYS} == OLDER_KEYS
