"""The bound in a report, against that of `diffusion.bound`."""

from pathlib import Path

import pytest

from diffusion import pixels
from diffusion.bound import Reverse, bound
from diffusion.data import datasets
from diffusion.sampling import Source
from tests.diffusion.evaluation.runs import evaluate


def test_the_bound_is_that_of_the_model_on_those_images(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    flags = ("--images=12", "--samples=2", "--sampler", "ddim:1", "--runtime=openvino")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    source, test = Source.open(tiny, "cpu", "eager"), datasets.load(str(data), "test")
    process = source.checkpoint.process
    reverse = Reverse(source.model, source.process, process.variance, process.clip)
    terms = bound(reverse, pixels.to_model(test.pixels), test.labels, seed=9).bits_per_dim()
    # the same images in another order, so with other noise
    assert report["bound"]["test"]["total"] == pytest.approx(terms.total.mean().item(), rel=0.05)
    assert report["bound"]["test"]["prior"] == pytest.approx(terms.prior.mean().item())


def test_one_image_has_no_standard_error(tiny: Path, data: Path, tmp_path: Path) -> None:
    flags = ("--images=1", "--terms=2", "--samples=2", "--sampler", "ddim:1")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    assert report["bound"]["test"]["standard_error"] is None
