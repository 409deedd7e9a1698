"""Which label each image of a request gets."""

from typing import NamedTuple, Self

from app.generation.errors import InvalidField
from app.wire.model_info import ModelInfo
from diffusion.labels import LabelError, Labels


class ImageLabels(NamedTuple):
    """The label of each image."""

    asked: tuple[int | None, ...]
    for_network: tuple[int, ...] | None  # where none is asked for, that of no label

    def each(self, times: int) -> Self:
        """The labels where each image is there so many times, one after the other."""
        asked = tuple(label for label in self.asked for _ in range(times))
        told = self.for_network
        return type(self)(asked, told and tuple(label for label in told for _ in range(times)))


def labels_of(
    model: ModelInfo, labels: int | list[int] | None, n: int, guidance: float = 0.0
) -> ImageLabels:
    """The labels of n images. Raises InvalidField for those that the model does not have."""
    known = Labels(len(model.classes), model.null_label)
    try:
        asked = known.for_each(labels, n, guidance)
    except LabelError as error:
        raise InvalidField(error.field, error.value, error.reason) from None
    return ImageLabels(asked, known.for_network(asked))
