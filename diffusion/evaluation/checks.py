"""What is refused before any work: an evaluation that could not be finished as asked."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from diffusion.checkpoint import Checkpoint
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.plan import Sampler
from diffusion.schedules import has_zero_snr
from diffusion.spacing import check_sampler
from diffusion.tuned import tuned_list

LEAST_IMAGES = 8
"""Training images below which their halves are too few to compare anything with."""


def check_terms(checkpoint: Checkpoint, num_terms: int | None) -> None:
    """Raise EvaluationError for more terms of the bound than the model's chain has, and for a model
    whose network cannot be told every t of the bound."""
    if checkpoint.unet.min_timestep > 0:
        raise EvaluationError(
            f"checkpoint: {checkpoint.name} has no bound: its network cannot be told t = 1"
        )
    T = checkpoint.process.num_timesteps
    if num_terms is not None and num_terms > T:
        reason = f"it must be at most T, the steps of the model, {T}"
        raise EvaluationError(f"terms: {num_terms} is not allowed; {reason}")


def check_samplers(checkpoint: Checkpoint, samplers: Sequence[Sampler]) -> None:
    """Raise EvaluationError for guidance where the model has no null label, for a tuned spacing
    that its card does not have, and for a sampler that cannot begin where its chain does."""
    zero_snr = has_zero_snr(checkpoint.process)
    for sampler in samplers:
        if sampler.guidance and checkpoint.card.null_label is None:
            raise EvaluationError(
                f"sampler: {str(sampler)!r}: the model has no null label, which guidance needs"
            )
        try:
            check_sampler(sampler.name, zero_snr=zero_snr)
            if sampler.spacing == "tuned":
                tuned_list(checkpoint.card.tuned, sampler.name, sampler.num_steps)
        except ValueError as error:
            raise EvaluationError(f"sampler: {str(sampler)!r}: {error}") from None


def check_data(checkpoint: Checkpoint, train: Images, test: Images | None) -> None:
    """Raise EvaluationError for data that do not fit the model, or too few of them."""
    if len(train) < LEAST_IMAGES:
        raise EvaluationError(
            f"data: {len(train)} training images are too few; {LEAST_IMAGES} or more are needed"
        )
    for split, images in (("training", train), ("test", test)):
        if images is not None:
            _check_split(checkpoint, split, images)


def _check_split(checkpoint: Checkpoint, split: str, images: Images) -> None:
    found, expected = tuple(images.pixels.shape[1:]), checkpoint.unet.image_shape
    if found != expected:
        raise EvaluationError(
            f"data: the {split} images are {_shape(found)}, but the model makes {_shape(expected)}"
        )
    count, null_label = len(checkpoint.classes), checkpoint.card.null_label
    if count and images.labels is None and null_label is None:
        raise EvaluationError(
            f"data: the {split} images have no labels, and the model cannot do without one"
        )
    if count and images.labels is not None and int(images.labels.max()) >= count:
        raise EvaluationError(
            f"data: the {split} images have the label {int(images.labels.max())}, but the model "
            f"only 0..{count - 1}"
        )


def _shape(shape: tuple[int, ...]) -> str:
    C, H, W = shape
    return f"{H}x{W} of {C} channel" + ("s" if C > 1 else "")


def check_folder(folder: Path) -> None:
    """Make the folder of a report. Raises EvaluationError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EvaluationError(f"out: {folder} cannot be written to: {error.strerror}") from error
