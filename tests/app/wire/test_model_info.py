"""What an engine says of its model arrives as it was said, and is not changed."""

import dataclasses
from typing import Any

import pytest

from app.wire.model_info import ModelInfo
from diffusion.fields import ConfigError, from_dict, to_dict
from tests.model_info import MODEL

OPTIONAL: dict[str, Any] = {
    "clip": None,
    "null_label": None,
    "source": "mnist",
    "revision": "0" * 40,
    "data": "emoji",
    "command": "diffusion train",
}
"""Fields that may be left empty, each the other way than MODEL has it."""


@pytest.mark.parametrize(
    "info",
    [MODEL, dataclasses.replace(MODEL, classes=(), **OPTIONAL)],
    ids=["conditional", "unconditional"],
)
def test_what_is_said_arrives_in_the_same_types(info: ModelInfo) -> None:
    read = from_dict(ModelInfo, to_dict(info))
    assert read == info
    assert all(type(value) is type(getattr(info, name)) for name, value in vars(read).items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", (8, 8)),
        ("classes", (1, 2)),
        ("batch_sizes", ("4",)),
        ("null_label", "2"),
        ("precision", "float64"),
        ("variance", None),
        ("batch_invariant", 1),
        ("machine", None),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_name_of_its_field(
    name: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        from_dict(ModelInfo, {**to_dict(MODEL), name: value})


def test_only_the_machine_may_be_left_unsaid() -> None:
    said = to_dict(dataclasses.replace(MODEL, machine="some machine"))
    del said["machine"]
    assert from_dict(ModelInfo, said) == dataclasses.replace(MODEL, machine="")
    for name in said:
        with pytest.raises(TypeError, match=f"argument: '{name}'"):
            from_dict(ModelInfo, {other: said[other] for other in said if other != name})


def test_what_is_known_of_a_model_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODEL.machine = "another"  # type: ignore[misc]
