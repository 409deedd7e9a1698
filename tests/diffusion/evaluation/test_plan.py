"""How samplers are named, and how little can be measured."""

from typing import Any

import pytest

from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.plan import OLDER_KEYS, Sampler, Settings


def test_a_sampler_is_a_name_its_steps_their_spacing_and_its_guidance() -> None:
    assert Sampler.parse("ddpm", 1000) == ("ddpm", 1000, 0, "even")
    assert Sampler.parse("ddim", 1000) == ("ddim", 50, 0, "even")
    assert Sampler.parse("ddim@1.5", 1000) == ("ddim", 50, 1.5, "even")
    assert Sampler.parse("unipc:8/karras@1.5", 1000) == ("unipc", 8, 1.5, "karras")
    assert str(Sampler.parse("unipc/karras", 1000)) == "unipc:20/karras"
    assert Sampler.parse("unipc:8/karras@1", 1000).file_name == "unipc-8-karras@1"
    assert str(Sampler.parse("ddim:7@1.50", 1000)) == "ddim:7@1.5"
    assert str(Sampler.parse("dpmpp:7", 1000)) == "dpmpp:7"
    for wrong, reason in (
        ("euler:5", "'euler' is none of ddpm, ddim, dpmpp, unipc, ipndm"),
        ("ddim:0", "steps must be 1..1000"),
        ("ddim:1001", "steps must be 1..1000"),
        ("ddim:many", "steps must be 1..1000"),
        ("ddim:5@-1", "guidance must be 0..20"),
        ("ddim:5@nan", "guidance must be 0..20"),
        ("ddim:5@20.1", "guidance must be 0..20"),
        ("ddim:5@" + "9" * 400, "guidance must be 0..20"),
        ("ddim:" + "9" * 5000, "steps must be 1..1000"),
        ("ddim:", r"is not allowed; it must be NAME\[:STEPS\]\[/SPACING\]\[@GUIDANCE\]"),
        ("ddim:5/odd", "spacing must be one of even, quadratic, log_snr, karras, tuned"),
        ("ddim:5@", "is not allowed; it must be NAME"),
        ("ddim@", "is not allowed; it must be NAME"),
        ("ddim:5:6", "is not allowed; it must be NAME"),
    ):
        with pytest.raises(EvaluationError, match=reason):
            Sampler.parse(wrong, 1000)


def test_two_strengths_of_guidance_never_have_one_name() -> None:
    near = [Sampler.parse(f"ddim:3@{text}", 1000) for text in ("1.0000001", "1.0000002", "1")]
    assert len({sampler.file_name for sampler in near}) == len({str(s) for s in near}) == 3
    assert near[2].file_name == "ddim-3@1", "as older folders have it"
    for sampler in (*near, Sampler("ddim", 3, 0.00001)):
        assert Sampler.parse(str(sampler), 1000) == sampler, "the report's command is read again"


def settings(**changed: Any) -> Settings:
    usual: dict[str, Any] = {"num_images": 5, "num_samples": 10, "samplers": (Sampler("ddim", 4),)}
    return Settings(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_samples": 9}, "samples: 9 is not allowed; it must be 10 or more"),
        ({"num_terms": 1}, "terms: 1 is not allowed; it must be 2 or more"),
        ({"num_train_images": 0}, "train-images: 0 is not allowed; it must be 1 or more"),
        ({"num_terms": 0}, "terms: 0 is not allowed; it must be 2 or more"),
        ({"seed": 10**20}, "seed: 100000000000000000000 is not allowed; it must be 900"),
        ({"num_samples": 10**12}, "samples: 1000000000000 is not allowed; it must be 10000000 or"),
        ({"batch_size": 10**20}, "batch-size: 100000000000000000000 is not allowed; it must be 9"),
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
