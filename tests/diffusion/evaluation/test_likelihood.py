"""The bound in a report, against that of `diffusion.bound`."""

import dataclasses
from pathlib import Path

import pytest
import torch

from diffusion import pixels
from diffusion.bound import BoundTerms, Reverse, bound
from diffusion.data import datasets
from diffusion.evaluation.likelihood import agreement, summary
from diffusion.process import Process
from diffusion.sampling import Source
from diffusion.schedules import linear_beta
from tests.diffusion.evaluation.runs import evaluate
from tests.diffusion.test_bound import gaussian_images, network


@pytest.mark.slow
def test_the_bound_is_that_of_the_model_on_those_images(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    flags = ("--images=12", "--samples=10", "--sampler", "ddim:1", "--runtime=openvino")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    source, test = Source.open(tiny, "cpu", "eager"), datasets.load(str(data), "test")
    process = source.checkpoint.process
    reverse = Reverse(source.model, source.process, process.variance, process.clip)
    terms = bound(reverse, pixels.to_model(test.pixels), test.labels, seed=9).bits_per_dim()
    # the same images in another order, so with other noise
    assert report["bound"]["test"]["total"] == pytest.approx(terms.total.mean().item(), rel=0.05)
    assert report["bound"]["test"]["prior"] == pytest.approx(terms.prior.mean().item())


@pytest.mark.slow
def test_one_image_has_no_standard_error(tiny: Path, data: Path, tmp_path: Path) -> None:
    flags = ("--images=1", "--terms=2", "--samples=10", "--sampler", "ddim:1")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    assert report["bound"]["test"]["standard_error"] is None


IMAGES = gaussian_images(400)


def estimated(process: Process, count: int, seed: int, num_terms: int | None) -> BoundTerms:
    reverse = Reverse(network, process, "fixed_large")
    return bound(reverse, IMAGES[:count], seed=seed, num_terms=num_terms)


def test_a_few_terms_and_all_of_them_estimate_the_same_bound() -> None:
    process = Process.from_beta(linear_beta(100))
    few, full = estimated(process, 400, 0, 12), estimated(process, 100, 0, None)
    found = agreement(few, full)
    assert found["images"] == 100
    assert found["full"] == pytest.approx(summary(full)["total"])
    assert found["difference"] == pytest.approx(found["terms"] - found["full"])
    assert 0 < abs(found["difference"]) < 3 * found["difference_error"]
    # and also without sharing images or draws
    other = summary(estimated(process, 400, 1, 12))
    error = (other["standard_error"] ** 2 + found["full_error"] ** 2) ** 0.5
    assert abs(other["total"] - found["full"]) < 3 * error


def test_a_wrong_estimator_is_seen() -> None:
    process = Process.from_beta(linear_beta(100))
    few, full = estimated(process, 100, 0, 12), estimated(process, 100, 0, None)
    wrong = dataclasses.replace(few, per_step=few.per_step * 1.2)
    found = agreement(wrong, full)
    assert found["difference"] > 5 * found["difference_error"]


def test_the_standard_error_counts_images_and_draws_of_the_terms() -> None:
    """It is the deviation of repeated measurements, with other images, noise and terms."""
    process = Process.from_beta(linear_beta(100))
    reverse = Reverse(network, process, "fixed_large")
    parts = gaussian_images(30 * 40).split(40)
    found = [summary(bound(reverse, part, seed=i, num_terms=8)) for i, part in enumerate(parts)]
    spread = torch.tensor([each["total"] for each in found]).std().item()
    error = sum(each["standard_error"] for each in found) / len(found)
    assert error == pytest.approx(spread, rel=0.4)
