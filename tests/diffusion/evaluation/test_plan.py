"""How samplers are named, and how little can be measured."""

import pytest

from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.plan import Sampler, Settings


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


def test_less_than_can_be_measured_is_refused_by_the_flag() -> None:
    sampler = Sampler("ddim", 4)
    with pytest.raises(EvaluationError, match="samples: 1 is not allowed; it must be 2 or more"):
        Settings(num_images=1, num_samples=1, samplers=(sampler,))
    with pytest.raises(EvaluationError, match="terms: 1 is not allowed; it must be 2 or more"):
        Settings(num_images=1, num_samples=2, samplers=(sampler,), num_terms=1)
    settings = Settings(num_images=1, num_samples=2, samplers=(sampler,), num_terms=2)
    assert settings.flags() == (
        "--images 1 --terms 2 --samples 2 --seed 0 --batch-size 64 --sampler ddim:4"
    )
