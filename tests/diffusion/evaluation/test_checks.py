"""What is refused before any work, with what is wrong and what is allowed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from diffusion.checkpoint import open_checkpoint
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.checks import check_data, check_folder, check_samplers, check_terms
from diffusion.evaluation.plan import Sampler
from tests.tiny import save_tiny


def images(count: int, labels: int | None = 2, size: int = 8, channels: int = 1) -> Images:
    pixels = torch.zeros(count, channels, size, size, dtype=torch.uint8)
    return Images(pixels, None if labels is None else torch.arange(count) % labels)


def test_guidance_needs_a_null_label(tiny: Path, tmp_path: Path) -> None:
    guided = [Sampler("ddim", 4, 2.5)]
    check_samplers(open_checkpoint(tiny), guided)
    plain = open_checkpoint(save_tiny(tmp_path / "plain", num_classes=2))
    with pytest.raises(EvaluationError, match="sampler: 'ddim:4@2.5': the model has no null label"):
        check_samplers(plain, guided)


def test_a_tuned_spacing_needs_its_list_on_the_card(tiny: Path) -> None:
    checkpoint = open_checkpoint(tiny)
    tuned = [Sampler("ddim", 3, spacing="tuned")]
    with pytest.raises(EvaluationError, match="sampler: 'ddim:3/tuned': this checkpoint has no"):
        check_samplers(checkpoint, tuned)
    card = dataclasses.replace(checkpoint.card, tuned={"ddim": {"3": [50, 20, 4]}})
    check_samplers(dataclasses.replace(checkpoint, card=card), tuned)


def test_a_network_that_takes_log_t_has_no_bound(tmp_path: Path) -> None:
    fourier = open_checkpoint(save_tiny(tmp_path / "fourier", fourier_time=True))
    with pytest.raises(EvaluationError, match="tiny has no bound: its network cannot"):
        check_terms(fourier, None)


def test_more_terms_than_steps_are_refused(tiny: Path) -> None:
    check_terms(open_checkpoint(tiny), None)
    check_terms(open_checkpoint(tiny), 50)
    with pytest.raises(EvaluationError, match="terms: 51 is not allowed; .* the model, 50"):
        check_terms(open_checkpoint(tiny), 51)


def test_three_images_are_refused_with_the_least_number(tiny: Path) -> None:
    check_data(open_checkpoint(tiny), images(8), None)
    with pytest.raises(EvaluationError, match="3 training images are too few; 8 or more"):
        check_data(open_checkpoint(tiny), images(3), images(3))


def test_images_of_another_shape_are_refused(tiny: Path) -> None:
    reason = "the test images are 9x9 of 1 channel, but the model makes 8x8 of 1 channel"
    with pytest.raises(EvaluationError, match=reason):
        check_data(open_checkpoint(tiny), images(8), images(2, size=9))
    with pytest.raises(EvaluationError, match="training images are 8x8 of 3 channels"):
        check_data(open_checkpoint(tiny), images(8, channels=3), None)


def test_labels_that_the_model_does_not_know_are_refused(tiny: Path) -> None:
    reason = r"the training images have the label 2, but the model only 0\.\.1"
    with pytest.raises(EvaluationError, match=reason):
        check_data(open_checkpoint(tiny), images(9, labels=3), None)


def test_without_labels_a_model_needs_a_null_label(tiny: Path, tmp_path: Path) -> None:
    check_data(open_checkpoint(tiny), images(9, labels=None), None)
    check_data(open_checkpoint(save_tiny(tmp_path / "uncond")), images(9, labels=None), None)
    plain = open_checkpoint(save_tiny(tmp_path / "plain", num_classes=2))
    with pytest.raises(EvaluationError, match="have no labels, and the model cannot do without"):
        check_data(plain, images(9, labels=None), None)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"out: .*/file cannot be written to: File exists"):
        check_folder(tmp_path / "file")
    with pytest.raises(EvaluationError, match="out: /proc/report cannot be written to"):
        check_folder(Path("/proc/report"))
