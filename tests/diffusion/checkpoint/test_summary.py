"""The facts of a checkpoint: those that a command could not check by being parsed."""

import json
from pathlib import Path

import pytest

from diffusion.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from diffusion.checkpoint.summary import class_names, refusal, samplers_of, summary
from tests.diffusion.checkpoint.folders import INDEX, SCHEDULER, edit
from tests.tiny import save_tiny


def opened(folder: Path) -> Checkpoint:
    return open_checkpoint(folder)


def test_the_process_is_told_by_the_ends_of_its_betas(folder: Path) -> None:
    process = summary("it", opened(folder))["process"]
    alpha_bar_T = 1.0
    for step in range(1000):
        alpha_bar_T *= 1 - (1e-4 + step / 999 * (0.02 - 1e-4))
    assert process == {
        "prediction": "eps", "num_timesteps": 1000, "schedule": "linear",
        "beta_first": pytest.approx(1e-4), "beta_last": pytest.approx(0.02),
        "alpha_bar_T": pytest.approx(alpha_bar_T, rel=1e-6), "variance": "fixed_small", "clip": 1.0,
    }  # fmt: skip


def test_the_facts_are_json_and_name_the_source_as_it_was_given(folder: Path) -> None:
    facts = summary("a name", opened(folder))
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["source"], facts["folder"]) == ("a name", str(folder))
    assert facts["uses"]["exported"]["command"] == "ddpm export 'a name' FOLDER"


def test_a_network_that_cannot_be_told_t_1_has_no_bound_and_is_sampled_in_fewer_steps(
    tmp_path: Path,
) -> None:
    uses = summary("it", opened(save_tiny(tmp_path / "tiny", fourier_time=True)))["uses"]
    assert uses["sampled"]["command"] == "ddpm sample it --steps 25 --out images.png"
    assert uses["bounded"] == {
        "possible": False, "command": None, "why": "its network cannot be told t = 1",
    }  # fmt: skip


def test_the_bound_is_of_the_data_that_are_given(folder: Path) -> None:
    command = summary("it", opened(folder), "my photos")["uses"]["bounded"]["command"]
    assert command == "ddpm evaluate it --data 'my photos' --out report"


def test_every_sampler_begins_in_noise_and_three_where_nothing_is_left_of_the_image(
    folder: Path,
) -> None:
    assert samplers_of(opened(folder)) == ["ddpm", "ddim", "dpmpp", "unipc", "ipndm"]
    edit(folder / SCHEDULER, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert samplers_of(opened(folder)) == ["ddpm", "ddim", "dpmpp"]


def test_a_refusal_has_the_reason_apart_from_what_would_help(tmp_path: Path) -> None:
    facts = refusal("it", tmp_path, CheckpointError("broken", "mend it"))
    assert (facts["usable"], facts["reason"], facts["remedy"]) == (False, "broken", "mend it")
    assert facts["classes"] == {"pipeline": None, "network": None, "scheduler": None}


def test_a_file_that_cannot_be_read_names_no_class_and_hides_no_other(folder: Path) -> None:
    (folder / INDEX).write_text("{")
    edit(folder / SCHEDULER, _class_name=7)
    assert class_names(folder) == {
        "pipeline": None, "network": "UNet2DModel", "scheduler": None,
    }  # fmt: skip
