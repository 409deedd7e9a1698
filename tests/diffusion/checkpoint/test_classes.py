"""Class names tell which networks were trained for another process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest

from diffusion.checkpoint.classes import (
    SCHEDULERS,
    SERVED_SCHEDULERS,
    check_folders,
    check_network,
    check_pipeline,
    check_scheduler,
    class_name,
    parts_of,
)
from diffusion.checkpoint.errors import CheckpointError
from diffusion.networks.registry import KINDS

FILE = Path("some/file.json")
Check = Callable[[Path, Mapping[str, Any]], None]


def refusal(check: Check, values: Mapping[str, Any]) -> CheckpointError:
    with pytest.raises(CheckpointError) as refused:
        check(FILE, values)
    assert refused.value.reason.startswith(f"{FILE}: ")
    return refused.value


@pytest.mark.parametrize("check", [check_network, check_scheduler, check_pipeline])
def test_a_file_that_names_no_class_is_judged_by_its_fields(check: Check) -> None:
    check(FILE, {})
    check(FILE, {"_class_name": None})
    assert "_class_name: '[1]' is not a text" in str(refusal(check, {"_class_name": [1]}))


def test_every_scheduler_of_diffusers_has_been_judged() -> None:
    """A new one would be refused, as unknown: look at it, and say what it is."""
    theirs = {name for name in dir(diffusers) if name.endswith("Scheduler")}
    flow = {name for name in theirs if name.startswith(("Flow", "Helios", "LTX", "MiniMax", "Pi"))}
    others = {"SchedulerMixin", "RFD4ProteinaScheduler"}
    flax = {name for name in theirs if name.startswith("Flax")}
    assert theirs - flow - flax - others - SERVED_SCHEDULERS - SCHEDULERS.keys() == set()


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_network_is_served(name: str) -> None:
    check_network(FILE, {"_class_name": name})
    assert class_name(FILE, {"_class_name": name}) == name


def test_a_network_that_is_not_known_is_refused_with_those_that_are() -> None:
    error = refusal(check_network, {"_class_name": "DiTTransformer2DModel"})
    assert error.reason.endswith("DiTTransformer2DModel: not a network that is known")
    assert error.remedy == f"networks that are: {', '.join(sorted(KINDS))}"


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_scheduler_of_another_process_is_refused_with_what_it_is(name: str) -> None:
    error = refusal(check_scheduler, {"_class_name": name})
    assert error.reason == f"{FILE}: _class_name: {name}: {SCHEDULERS[name].what}"
    assert error.remedy == SCHEDULERS[name].remedy


@pytest.mark.parametrize(
    ("part", "is_served"),
    [
        ("unet", True),
        ("scheduler", True),
        ("vae", False),
        ("text_encoder", False),
        ("text_encoder_2", False),
        ("tokenizer_3", False),
        ("prior_prior", True),
    ],
)
def test_a_part_rules_a_network_out_by_its_name_and_a_number_behind(
    part: str, is_served: bool
) -> None:
    index = {part: ["library", "Class"]}
    if is_served:
        check_pipeline(FILE, index)
    else:
        assert f"{FILE}: {part}: Class: " in refusal(check_pipeline, index).reason


def test_a_folder_beside_the_network_rules_it_out(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "vae").write_text("a file is no part")
    check_folders(tmp_path)
    (tmp_path / "movq").mkdir()
    with pytest.raises(CheckpointError, match="movq: the network makes latents"):
        check_folders(tmp_path)


def test_of_an_index_only_what_lists_library_and_class_is_a_part() -> None:
    index = {
        "_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
        "scheduler": [None, None], "other": ["diffusers"], "requires": [1, 2, 3], "n": 5,
    }  # fmt: skip
    assert parts_of(index) == {"unet": "UNet2DModel"}
