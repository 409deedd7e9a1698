"""Which split and class an image belongs to, from its path; and which images are held out.

    train/cat/0.png            a split, then a class
    cat/0.png                  no splits: all are training images
    mydata/train/cat/0.png     folders that wrap everything are looked through

Paths are relative to the folder or archive.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from diffusion.data.images import DataError, HoldoutError, Split
from diffusion.data.names import as_bytes

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The folders that are splits, in any case of letters."""
MAX_LABEL = 99_999
"""The largest label that is a number: the network has a row of weights for every label up to it."""

Label = str | int


@dataclass(frozen=True)
class Place:
    """The split of an image, and its label: None where it has none."""

    split: Split
    label: Label | None


def arrange(paths: Sequence[PurePosixPath]) -> list[Place | None]:
    """Find the place of each image; None: it is in no split, although others are.

    A label is the path of the folders below the split. None of the images has one where some
    training image lies in no folder of its own. Raises DataError for splits without a training
    split.
    """
    depth = wrapping(paths)
    inner = [path.parts[depth:] for path in paths]
    if not _has_splits(inner):
        return _labelled([("train", parts[:-1]) for parts in inner])
    return _labelled(
        [
            (SPLIT_NAMES[parts[0].lower()], parts[1:-1]) if _in_split(parts) else None
            for parts in inner
        ]
    )


def wrapping(paths: Sequence[PurePosixPath]) -> int:
    """Count the folders on top that all images are in, and that are no splits."""
    depth = 0
    while paths:
        tops = {path.parts[depth] if len(path.parts) > depth + 1 else "" for path in paths}
        top = tops.pop()
        if tops or not top or top.lower() in SPLIT_NAMES:
            break
        depth += 1
    return depth


def _in_split(parts: Sequence[str]) -> bool:
    return len(parts) > 1 and parts[0].lower() in SPLIT_NAMES


def _has_splits(inner: Sequence[Sequence[str]]) -> bool:
    """Are the top folders splits? One that lies beside folders of other names is a class.

    Raises DataError where there are splits, but none to train on.
    """
    tops = {parts[0] for parts in inner if len(parts) > 1}
    names = sorted(top for top in tops if top.lower() in SPLIT_NAMES)
    splits = {SPLIT_NAMES[name.lower()] for name in names}
    if len(splits) < 2 and (not splits or len(names) < len(tops)):
        return False
    if "train" not in splits:
        raise DataError(
            f"data: found the {'folder' if len(names) == 1 else 'folders'} {', '.join(names)}, and "
            "no folder train; rename the one that is to be trained on to train"
        )
    return True


def _labelled(found: Sequence[tuple[Split, Sequence[str]] | None]) -> list[Place | None]:
    training = [place[1] for place in found if place and place[0] == "train"]
    labelled = bool(training) and all(training)
    return [
        place and Place(place[0], ("/".join(place[1]) or None) if labelled else None)
        for place in found
    ]


def number_labels(labels: Mapping[Split, Sequence[Label | None]]) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers; () where there are none.

    The training split's labels are the classes: in the order of numbers where all of them are
    numbers, else of names. Where they are whole numbers already, these stay, and the classes are 0
    up to the largest. Raises DataError for a label that training lacks, or that is out of range,
    and for numbers beside names.
    """
    training = labels.get("train", ())
    if not training or None in training:
        return ()
    _check_one_kind(labels)
    numbers = {label for label in training if isinstance(label, int)}
    classes = _numbered(numbers) if numbers else _named(set(map(str, training)))
    for split, own in labels.items():
        lacking = {str(label) for label in own if label is not None} - set(classes)
        if lacking:
            raise DataError(
                f"data: the {split} split has the class {min(lacking)!r}, which the training split "
                f"lacks; that has {_few(classes)}"
            )
    return classes


def _numbered(labels: set[int]) -> tuple[str, ...]:
    """The classes 0 up to the largest label."""
    for label in (min(labels), max(labels)):
        if not 0 <= label <= MAX_LABEL:
            raise DataError(f"data: the label {label} is not allowed; labels are 0..{MAX_LABEL}")
    return tuple(str(k) for k in range(max(labels) + 1))


def _named(labels: set[str]) -> tuple[str, ...]:
    """The classes in the order of their names, or of numbers where all names are numbers."""
    numeric = all(label.isascii() and label.isdecimal() for label in labels)
    return tuple(sorted(sorted(labels), key=int) if numeric else sorted(labels))


def _check_one_kind(labels: Mapping[Split, Sequence[Label | None]]) -> None:
    """Raise DataError where some labels are numbers and others names: 1 is not the class "1"."""
    first = {type(label): (split, label) for split, own in labels.items() for label in own}
    first.pop(type(None), None)
    if len(first) > 1:
        told = ", ".join(f"{label!r} in {split}" for split, label in first.values())
        raise DataError(f"data: labels are both numbers and names ({told}); make them of one kind")


def number(labels: Sequence[Label | None], classes: Sequence[str]) -> list[int] | None:
    """Return the labels as numbers of the classes; None where there are none, or one lacks."""
    if not classes or None in labels:
        return None
    numbers = {name: k for k, name in enumerate(classes)}
    return [label if isinstance(label, int) else numbers[str(label)] for label in labels]


def _few(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5])
    return f"{shown} and {len(classes) - 5} more" if len(classes) > 5 else shown


def held_out(
    names: Sequence[str], labels: Sequence[Label | None], holdout: int | float
) -> set[int]:
    """Choose which of the images set aside are the test split, by a hash of their names.

    Of each class the image with the largest hash stays, so that training lacks none. Of the others
    a share (below 1) takes those whose hash is below it, and a count those with the smallest. Who
    adds images moves no other one by a share, but that of a class whose hashes are all below it.
    Raises HoldoutError where nothing would be set aside, or less than the count.
    """
    hashes = [hashlib.sha256(as_bytes(name)).digest() for name in names]
    order = sorted(range(len(names)), key=lambda i: hashes[i])
    staying = {labels[i]: i for i in order}  # the last of each label
    free = [i for i in order if staying[labels[i]] != i]
    if holdout < 1:
        limit = int(holdout * 2**64)
        chosen = [i for i in free if int.from_bytes(hashes[i][:8], "big") < limit]
    else:
        chosen = free[: int(holdout)]
    if not chosen or len(chosen) < holdout:
        raise HoldoutError(
            f"[data] holdout: {holdout} is not allowed; of {len(names)} training images "
            f"{len(free)} can be set aside, since one of each class stays, and {holdout} takes "
            f"{len(chosen) or 'none'}"
        )
    return set(chosen)
