"""The text of `ddpm checkpoint`, made from facts alone."""

from typing import Any

import pytest

from diffusion.checkpoint.summary_text import SHOWN, as_text

FACTS: dict[str, Any] = {
    "folder": "/models/pets",
    "usable": True,
    "name": "pets",
    "classes": {"pipeline": "DDPMPipeline", "network": "UNet2DModel", "scheduler": None},
    "network": {"kind": "UNet2DModel", "parameters": 1_234_567, "image_shape": [3, 16, 32]},
    "process": {
        "prediction": "v", "num_timesteps": 1000, "schedule": "linear", "beta_first": 1e-4,
        "beta_last": 0.02, "alpha_bar_T": 4.0358e-5, "variance": "fixed_small", "clip": 1.0,
    },
    "labels": {"names": ["cat", "dog"], "null_label": 2},
    "weights": {
        "files": ["a.safetensors", "b.safetensors"], "variant": "fp16", "bytes": 3 << 20,
        "types": ["F16", "F32"], "sha256": "ab" * 32,
    },
    "origin": {
        "data": "photos", "license": "CC0-1.0", "command": "", "source": {"hub": "me/pets"}
    },
    "notes": ["first", "second"],
    "uses": {
        "served": {"possible": True, "command": "ddpm serve", "why": None},
        "sampled": {"possible": False, "command": None, "why": "no", "samplers": ["ddpm", "ddim"]},
    },
}  # fmt: skip


def test_a_checkpoint_that_can_be_used_is_told_in_two_columns() -> None:
    sha256 = "ab" * 32
    assert as_text(FACTS).splitlines() == [
        "checkpoint   pets, in /models/pets",
        "network      UNet2DModel, 1,234,567 parameters",
        "images       32 x 16 pixels, 3 channels",
        "predicts     v",
        "schedule     linear, T = 1000, beta 0.0001 to 0.02, alpha_bar_T = 4.04e-05",
        "variance     fixed_small; x_0_hat within +-1",
        "labels       2: cat, dog; null label 2",
        "weights      a.safetensors, b.safetensors: 3.0 MiB of F16, F32, variant fp16",
        f"sha256       {sha256}",
        "saved as     DDPMPipeline, UNet2DModel",
        "trained on   photos",
        "licence      CC0-1.0",
        "from         hub: me/pets",
        "note         first",
        "note         second",
        "",
        "served       yes: ddpm serve",
        "sampled      no: no",
        "             by ddpm, ddim",
    ]


def test_the_flags_of_an_import_are_told_where_they_were_given() -> None:
    flags = {"image_size": 32, "part": None, "learn_sigma": False}
    origin = {**FACTS["origin"], "source": {"flags": flags}}
    assert line("from", origin=origin) == "flags: image_size=32, learn_sigma=False"


def line(about: str, **facts: Any) -> str:
    """What a text says of something, where the facts are others."""
    lines = as_text({**FACTS, **facts}).splitlines()
    return next(line[13:] for line in lines if line.startswith(about))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"names": [], "null_label": None}, "none: the network is unconditional"),
        ({"names": ["a"], "null_label": None}, "1: a; without a null label, so not guided"),
    ],
)
def test_labels_say_whether_a_sample_can_be_guided(labels: dict[str, Any], text: str) -> None:
    assert line("labels", labels=labels) == text


def test_of_many_names_the_first_are_shown_with_their_number() -> None:
    names = [f"n{i}" for i in range(SHOWN + 1)]
    shown = line("labels", labels={"names": names, "null_label": None})
    assert shown.startswith("13: n0, n1") and "n11, … (13 in all);" in shown and "n12" not in shown


def test_x_0_hat_that_is_not_clipped_is_told() -> None:
    process = {**FACTS["process"], "clip": None}
    assert line("variance", process=process) == "fixed_small; x_0_hat is not clipped"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"),
     (5000 << 40, "5000.0 TiB")],
)  # fmt: skip
def test_sizes_are_in_units_that_people_read(count: int, text: str) -> None:
    weights = {**FACTS["weights"], "bytes": count, "variant": None}
    assert line("weights", weights=weights).endswith(f": {text} of F16, F32")


def test_a_refusal_has_its_reason_and_what_would_help_if_anything_would() -> None:
    nothing = {"pipeline": None, "network": None, "scheduler": None}
    facts = {"usable": False, "folder": "/a", "classes": nothing, "reason": "r", "remedy": None}
    lines = ["checkpoint   /a", "saved as     no class names", "", "refused      r"]
    assert as_text(facts).splitlines() == lines
    assert as_text({**facts, "remedy": "m"}).splitlines() == [*lines, "remedy       m"]


def test_names_of_strangers_cannot_command_a_terminal_nor_make_lines() -> None:
    assert as_text({**FACTS, "name": "a\x1b[2J\nserved"}).startswith(
        "checkpoint   a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}served, in"
    )
