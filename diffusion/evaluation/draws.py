"""Which labels samples have, and which real images with the same labels they are compared with."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from diffusion.config import LabelMix
from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError
from diffusion.training.randomness import generator_at

Kind = Literal["disjoint", "overlapping", "repeating"]
"""How sets are drawn, from the most images for a set to the fewest."""
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

    Each label is drawn by itself. `disjoint` sets share no image. Where a label's images are too
    few for that, those of each set are drawn from all of them anew: `overlapping` sets share images
    with one another, and `repeating` ones, of nearly as many images as there are or more, hold some
    more than once.
    """

    indices: tuple[Tensor, ...]  # each (N,), into the data set
    labels: Tensor | None  # (N,), the same for every set; None: drawn without regard to labels
    kinds: dict[int, Kind]  # of each label; of 0 alone where labels are not regarded
    own: float  # the variance among the sets, as a share of that of sets from endless data
    common: float  # the variance of what they have in common, in the same unit

    @property
    def kind(self) -> Kind:
        """The kind of the label that has the fewest images for its samples."""
        return max(self.kinds.values(), key=get_args(Kind).index)

    @property
    def scarce(self) -> list[int]:
        """The labels of which sets hold images more than once; none without labels."""
        kinds = {} if self.labels is None else self.kinds
        return [label for label, kind in kinds.items() if kind == "repeating"]


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
        names, groups, counts, found = [0], [pool], [size], None
    else:
        kinds, sizes = wanted.unique(return_counts=True)
        groups = [_of_label(pool, labels, label) for label in kinds.tolist()]
        names, counts, found = kinds.tolist(), sizes.tolist(), kinds.repeat_interleave(sizes)
    parts = [_draw(g, n, seed, i) for i, (g, n) in enumerate(zip(groups, counts, strict=True))]
    indices = tuple(torch.cat(each) for each in zip(*(part.sets for part in parts), strict=True))
    weights = [count / sum(counts) for count in counts]
    own = sum(w * part.own for w, part in zip(weights, parts, strict=True))
    common = sum(w * part.common for w, part in zip(weights, parts, strict=True))
    return Draws(
        indices, found, {i: p.kind for i, p in zip(names, parts, strict=True)}, own, common
    )


def _of_label(pool: Tensor, labels: Tensor, label: int) -> Tensor:
    group = pool[labels[pool] == label]
    if not len(group):
        raise EvaluationError(
            f"data: too few training images of label {label} to compare samples with; "
            "--labels data asks only for labels that the data have"
        )
    return group


class _Part(NamedTuple):
    """One label's images for each set; the rest is as in Draws."""

    sets: list[Tensor]
    kind: Kind
    own: float
    common: float


def _draw(group: Tensor, count: int, seed: int, which: int) -> _Part:
    """Draw `count` of a label's images for each set; `which` numbers the label.

    Sets without repetition that take a share f of all images vary by 1 - f of what others would
    (Cochran 1977, the finite population correction); f is the variance of the mean of all images.
    """
    generator, share = generator_at(seed, Stream.DRAWS, which), count / len(group)
    if len(group) >= NUM_DRAWS * count:
        order = torch.randperm(len(group), generator=generator)
        sets = list(group[order[: NUM_DRAWS * count]].split(count))
        return _Part(sets, "disjoint", 1.0, 0.0)
    if count <= MOST_OVERLAP * len(group):
        orders = [torch.randperm(len(group), generator=generator) for _ in range(NUM_DRAWS)]
        return _Part([group[order[:count]] for order in orders], "overlapping", 1 - share, share)
    chosen = torch.randint(len(group), (NUM_DRAWS, count), generator=generator)
    return _Part(list(group[chosen]), "repeating", 1.0, share)
