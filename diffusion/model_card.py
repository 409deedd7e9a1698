"""The model card of a checkpoint: what is known of a model beyond the files of diffusers.

Imports no torch.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from diffusion.atomic import atomic_file
from diffusion.fields import ConfigError, from_dict, require
from diffusion.recommendation import check_recommended
from diffusion.spacing import SamplerName
from diffusion.tuned import check_tuned

CARD = "model_card.json"
WHOLE_NUMBERS = re.compile(r"(?<=\[)\s+\d+(?:,\s+\d+)*\s+(?=\])")


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model; any of it may be missing."""

    name: str | None = None
    null_label: int | None = None  # the class embedding's row that means "no label"
    classes: tuple[str, ...] = ()
    data: str | None = None
    license: str | None = None  # of the data, by its SPDX identifier, and who asks for it
    command: str | None = None  # that trained it
    trained: dict[str, Any] = dataclasses.field(default_factory=dict)  # steps, images, machine, …
    quality: dict[str, Any] = dataclasses.field(default_factory=dict)  # measured, with commands
    # What another precision than float32 was measured to lose, by its name
    precisions: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuned: dict[str, Any] = dataclasses.field(default_factory=dict)  # as `diffusion.tuned` says
    # As `diffusion.recommendation` says
    recommended: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Of weights of another project: its address, the file, that file's hash, the import's flags;
    # of a model of the Hub: its repository as `hub`, and the commit as `revision`
    source: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_card(values: dict[str, Any], num_class_embeds: int | None, T: int) -> ModelCard:
    """Make a card of its JSON object, for a network with so many rows of class embedding (None: it
    is unconditional) and a chain of T steps. Raises ConfigError naming what does not fit."""
    card = from_dict(ModelCard, values)
    check_tuned(card.tuned, get_args(SamplerName), T)
    check_recommended(card.recommended, card.tuned, T)
    for name, measured in card.precisions.items():
        says = isinstance(measured, dict) and type(measured.get("lossless")) is bool
        require(says, f"precisions.{name}", measured, "a table with `lossless`, true or false")
    rows = num_class_embeds or 0
    if card.classes and len(card.classes) != rows - (card.null_label is not None):
        raise ConfigError(f"classes: {len(card.classes)} names, {rows} embedding rows")
    last = None if num_class_embeds is None else num_class_embeds - 1
    if card.null_label not in (None, last):
        raise ConfigError(f"null_label: {card.null_label} is not the last row, {last}")
    guidance = card.recommended.get("guidance")
    if guidance and card.null_label is None:
        raise ConfigError(f"recommended.guidance: {guidance} needs a null_label")
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card of the checkpoint in a folder, whole or not at all, each list of whole numbers
    on a line; one that is there is replaced."""
    text = json.dumps(dataclasses.asdict(card), indent=2) + "\n"
    with atomic_file(folder / CARD) as file:
        file.write(WHOLE_NUMBERS.sub(lambda found: " ".join(found[0].split()), text).encode())
