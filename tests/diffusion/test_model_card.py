"""The model card: what fits its network and chain is read, and it is written for people to read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from diffusion.fields import ConfigError
from diffusion.model_card import ModelCard, read_card, write_card

LISTS = {"unipc": {"4": [1000, 600, 300, 10]}}
HALF = {"bfloat16": {"lossless": True}}


def test_what_is_written_is_read_and_a_list_of_timesteps_is_a_line(tmp_path: Path) -> None:
    card = ModelCard(
        "digits", 2, ("0", "1"), tuned=LISTS, precisions={"bfloat16": {"lossless": True}}
    )
    write_card(tmp_path, card)
    text = (tmp_path / "model_card.json").read_text()
    assert '"4": [1000, 600, 300, 10]' in text
    assert read_card(json.loads(text), 3, 1000) == card


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["cat"]}, "classes: 1 names, 3 embedding rows"),
        ({"null_label": 0}, "null_label: 0 is not the last row, 2"),
        ({"tuned": {"unipc": {"2": [999, 1]}}}, "tuned.unipc: "),
        ({"recommended": {"sampler": "unipc"}}, "recommended: "),
        ({"recommended": {"guidance": 2.0}}, "recommended.guidance: 2.0 needs a null_label"),
        ({"precisions": {"bfloat16": 5}}, "precisions.bfloat16: 5 is not allowed"),
        (
            {"precisions": {"bfloat16": {"lossless": "no"}}},
            "precisions.bfloat16: {'lossless': 'no'}",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_card({**dataclasses.asdict(ModelCard()), **fields}, 3, 1000)
    assert str(error.value).startswith(message)
