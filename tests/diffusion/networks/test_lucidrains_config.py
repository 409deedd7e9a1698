"""The configuration of a lucidrains Unet: what cannot be built is refused by field and value."""

import math
from typing import Any

import pytest

from diffusion.fields import ConfigError, from_dict
from diffusion.networks.lucidrains_config import LucidrainsUnetConfig

FIELDS: dict[str, Any] = {
    "sample_size": 16, "in_channels": 3, "out_channels": 3, "dim": 16, "widths": [16, 32, 64],
    "full_attention": [False, True], "heads": [4, 4], "head_dim": [32, 32],
}  # fmt: skip


def test_there_is_a_level_between_each_two_widths() -> None:
    assert from_dict(LucidrainsUnetConfig, FIELDS).levels == 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", [16], "two numbers or more, one more than levels"),
        ("widths", [], "1..11 numbers"),
        ("widths", [16, 32, 64, 128], None),  # its other fields are of two levels
        ("full_attention", [True], "2 values, one a level"),
        ("heads", [4, 4, 4], "2 values, one a level"),
        ("head_dim", [32, 0], "1..16384"),
        ("sample_size", 15, "a multiple of 2, 1..16384"),
        ("dim", 15, "even, 4..16384"),
        ("dim", 2, "even, 4..16384"),
        ("num_mem_kv", -1, "0..1000000"),
        ("theta", 1.0, "above 1"),
        ("theta", math.inf, "above 1"),
        ("norm", "layer", "rms"),
    ],
)
def test_what_cannot_be_built_is_refused(field: str, value: object, message: str | None) -> None:
    name, said = (field, message) if message else ("full_attention", "3 values, one a level")
    with pytest.raises(ConfigError, match=f"^{name}: .*{said}"):
        from_dict(LucidrainsUnetConfig, {**FIELDS, field: value})


@pytest.mark.parametrize(("groups", "fits"), [(8, True), (16, True), (5, False), (0, False)])
def test_groups_divide_all_widths_where_there_are_any(groups: int, fits: bool) -> None:
    fields = {**FIELDS, "norm_groups": groups}
    assert from_dict(LucidrainsUnetConfig, fields).norm == "rms"
    if fits:
        from_dict(LucidrainsUnetConfig, {**fields, "norm": "group"})
    else:
        with pytest.raises(ConfigError, match=f"^norm_groups: {groups} is not allowed"):
            from_dict(LucidrainsUnetConfig, {**fields, "norm": "group"})
