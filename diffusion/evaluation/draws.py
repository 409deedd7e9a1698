"""Which labels samples have, and which real images with the same labels they are compared with."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from diffusion.config import LabelMix
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError
from diffusion.training.randomness import generator_at

Kind = Literal["disjoint", "overlapping", "repeating"]
NUM_DRAWS = 10
"""Sets of real images that the floor is measured with."""
MOST_OVERLAP = 0.9
"""The share of a label's images in a set above which sets would be nearly the same."""


class Stream(IntEnum):
    """What an evaluation chooses at random; each from a stream of its own."""

    IMAGES = 0  # the images that are measured or shown
    HALVES = 1  # which training images are the reference, and which measure the floor
    DRAWS = 2  # the sets of real images that measure the floor
    RESAMPLES = 3  # the samples of each resample
    HELD_OUT = 4  # the training images that a classifier is measured on, without a test split


def choose(size: int, count: int, seed: int) -> Tensor:
    """Draw `count` of the indices 0..size-1 without repetition, at most all: int64."""
    return torch.randperm(size, generator=generator_at(seed, Stream.IMAGES, 0))[:count]


def sample_labels(
    count: int, num_classes: int, mix: LabelMix, data: Tensor | None
) -> Tensor | None:
    """Return the labels (count,) that samples are asked for; None for an unconditional model.

    `balanced` goes round all classes; `data` has the frequencies of the data's labels (M,). Raises
    EvaluationError where the data have none.
    """
    if not num_classes:
        return None
    if mix == "balanced":
        return torch.arange(count) % num_classes
    if data is None:
        raise EvaluationError(
            "labels: 'data' is not allowed: the data have no labels; use balanced"
        )
    # Whole numbers that add up: round down, and give what is left to the largest remainders
    shares = torch.bincount(data, minlength=num_classes).double() * count / len(data)
    counts = shares.long()
    counts[(shares - counts).argsort(descending=True, stable=True)[: count - counts.sum()]] += 1
    return torch.arange(num_classes).repeat_interleave(counts)


@dataclass(frozen=True)
class Draws:
    """Sets of real images, each with as many images of each label as the samples have.

    `disjoint` sets share no image. Where the data are too few for that, each set is drawn from all
    of them anew: `overlapping` sets share images with one another, and `repeating` ones, of nearly
    as many images as there are or more, hold some more than once.
    """

    indices: tuple[Tensor, ...]  # each (N,), into the data set
    labels: Tensor | None  # (N,), the same for every set; None: drawn without regard to labels
    kind: Kind
    overlap: float  # what share of all images of a label is in an overlapping set, at most


class RealImages(NamedTuple):
    """The training images that samples are compared with, by their indices; the two share none."""

    reference: Tensor  # a random half, that distances are measured from
    draws: Draws  # sets of the other half, that the floor is measured with


def real_images(images: Images, wanted: Tensor | int, seed: int) -> RealImages:
    """Choose the reference, and the sets that the floor is measured with, for samples of the labels
    `wanted` (N,), or of only so many. Raises EvaluationError where a label has too few images."""
    order = torch.randperm(len(images), generator=generator_at(seed, Stream.HALVES, 0))
    half = len(order) // 2
    return RealImages(order[:half], draw_sets(order[half:], images.labels, wanted, seed))


def draw_sets(pool: Tensor, labels: Tensor | None, wanted: Tensor | int, seed: int) -> Draws:
    """Draw NUM_DRAWS sets from the indices `pool` (M,) of a data set with `labels`.

    `wanted` are the labels (N,) of each set, or only their number. Raises EvaluationError where the
    pool has no image of a label.
    """
    if isinstance(wanted, int) or labels is None:
        size = wanted if isinstance(wanted, int) else len(wanted)
        groups, counts, found = [pool], [size], None
    else:
        kinds, sizes = wanted.unique(return_counts=True)
        groups = [pool[labels[pool] == label] for label in kinds]
        counts, found = sizes.tolist(), kinds.repeat_interleave(sizes)
        for label, group in zip(kinds.tolist(), groups, strict=True):
            if not len(group):
                raise EvaluationError(
                    f"data: too few training images of label {label} to compare samples with; "
                    "--labels data asks only for labels that the data have"
                )
    kind = _kind(groups, counts)
    pairs = enumerate(zip(groups, counts, strict=True))
    drawn = [_draw(group, count, kind, seed, which) for which, (group, count) in pairs]
    shares = [count / len(group) for group, count in zip(groups, counts, strict=True)]
    overlap = max(shares) if kind == "overlapping" else 0.0
    indices = tuple(torch.cat(parts) for parts in zip(*drawn, strict=True))
    return Draws(indices, found, kind, overlap)


def _kind(groups: list[Tensor], counts: list[int]) -> Kind:
    pairs = list(zip(groups, counts, strict=True))
    if all(len(group) >= NUM_DRAWS * count for group, count in pairs):
        return "disjoint"
    small = all(count <= MOST_OVERLAP * len(group) for group, count in pairs)
    return "overlapping" if small else "repeating"


def _draw(group: Tensor, count: int, kind: Kind, seed: int, which: int) -> list[Tensor]:
    """Draw `count` of a label's images for each set; `which` numbers the label."""
    generator = generator_at(seed, Stream.DRAWS, which)
    if kind == "disjoint":
        order = torch.randperm(len(group), generator=generator)
        return list(group[order[: NUM_DRAWS * count]].split(count))
    if kind == "overlapping":
        orders = [torch.randperm(len(group), generator=generator) for _ in range(NUM_DRAWS)]
        return [group[order[:count]] for order in orders]
    chosen = torch.randint(len(group), (NUM_DRAWS, count), generator=generator)
    return list(group[chosen])
