"""Which labels fit a model, and what the network is told of them. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_GUIDANCE = 20
"""The strongest guidance that may be asked for."""


class LabelError(ValueError):
    """Labels, or guidance, that do not fit the model. `field` is the one at fault."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed: {reason}")
        self.field = field
        self.value = value
        self.reason = reason


@dataclass(frozen=True)
class Labels:
    """The labels that a model knows: 0 .. num_classes - 1, none where it is unconditional; and the
    one that means "no label", where it was trained with label dropout."""

    num_classes: int
    null_label: int | None

    def for_each(
        self, labels: int | Sequence[int] | None, n: int, guidance: float = 0.0
    ) -> tuple[int | None, ...]:
        """The label of each of `n` samples, None where none is asked for: `labels` is one for all,
        or `n` of them. Raises LabelError where these, or guidance, do not fit the model."""
        if guidance and (labels is None or self.null_label is None):
            reason = "it needs labels, and a model trained with label dropout"
            raise LabelError("guidance", guidance, reason)
        if labels is None:
            if self.num_classes and self.null_label is None:
                reason = f"this model needs labels, 0..{self.num_classes - 1}"
                raise LabelError("labels", None, reason)
            return (None,) * n
        if not self.num_classes:
            raise LabelError("labels", labels, "this model is unconditional")
        each = spread(labels, n)
        for label in each:
            if not 0 <= label < self.num_classes:
                reason = f"this model has labels 0..{self.num_classes - 1}"
                raise LabelError("labels", label, reason)
        return each

    def for_network(self, each: Sequence[int | None]) -> tuple[int, ...] | None:
        """What the network is told for each sample: the null label where none is asked for. None
        for an unconditional model."""
        if not self.num_classes:
            return None
        return tuple(self.null_label or 0 if label is None else label for label in each)


def check_interval(interval: Sequence[int], guidance: float, num_timesteps: int) -> None:
    """Raise LabelError unless `interval` is [t_high, t_low], T >= t_high >= t_low >= 0, of the
    paper's t, and there is guidance to apply there."""
    high, low = interval
    if not guidance:
        reason = "it says where guidance applies, and guidance is 0"
    elif not 0 <= low <= high <= num_timesteps:
        reason = f"it must be [t_high, t_low], falling, within 0..{num_timesteps}"
    else:
        return
    raise LabelError("guidance_interval", list(interval), reason)


def spread(labels: int | Sequence[int], n: int) -> tuple[int, ...]:
    """Return one label for each of `n` samples. Raises LabelError for another number of them."""
    each = (labels,) * n if isinstance(labels, int) else tuple(labels)
    if len(each) != n:
        reason = f"{len(each)} labels for n = {n} images; give one, or n of them"
        raise LabelError("labels", labels, reason)
    return each
