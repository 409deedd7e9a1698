"""The plan of `make gpu-train`: what it promises of each stage, and which is the next."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks import carried, gpu_stages
from benchmarks.gpu_stages import Place, Stage, next_stage, read_plan
from diffusion.evaluation.plan import Sampler
from diffusion.fields import ConfigError
from diffusion.training import states
from diffusion.training.checks import copy_weights
from diffusion.training.states import State
from diffusion.unet import UNet

PLAN = read_plan()
STATE_BYTES = 12
"""For each parameter: weights and their average in float32, and Adam's moments in bfloat16."""
LARGEST = {"mnist": 16, "cifar10": 32, "emoji": 32}
"""MiB of a model's weights."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
each_stage = pytest.mark.parametrize("stage", PLAN, ids=lambda stage: stage.name)


@each_stage
def test_a_stage_fits_into_what_is_carried(stage: Stage) -> None:
    count = gpu_stages.parameters(stage.read_config())
    assert count * STATE_BYTES < 0.99 * carried.ROOM  # names, shapes and the log take little
    assert count * BYTES[stage.weights] < carried.ROOM


@each_stage
def test_a_stage_has_the_minutes_that_the_plan_says(stage: Stage) -> None:
    found = gpu_stages.minutes(stage.read_config())
    assert found == pytest.approx((stage.minutes_at_share, stage.minutes_as_measured), abs=0.06)


@each_stage
def test_a_stage_can_begin_with_the_weights_of_the_one_before(stage: Stage) -> None:
    earlier = gpu_stages.before(PLAN, stage)
    config = stage.read_config()
    assert config.data.path == stage.model
    if earlier:
        with torch.device("meta"):
            copy_weights(UNet(earlier.read_config().unet), UNet(config.unet))


@each_stage
def test_a_stage_is_measured_with_samplers_that_there_are(stage: Stage) -> None:
    flags = stage.evaluate_flags
    written, T = flags[flags.index("--sampler") + 1 :], stage.read_config().process.num_timesteps
    assert [str(Sampler.parse(text, T)) for text in written] == written


def test_the_last_stage_of_a_model_makes_one_of_the_size_that_is_included() -> None:
    for model, largest in LARGEST.items():
        last = [stage for stage in PLAN if stage.model == model][-1]
        count = gpu_stages.parameters(last.read_config())
        assert count * BYTES[last.weights] <= largest << 20


def test_the_table_has_a_row_for_each_stage() -> None:
    rows = gpu_stages.table(PLAN[:2]).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| mnist-1", "| mnist-2"]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of included models, none of which comes from the plan."""
    folder = tmp_path / "models"
    monkeypatch.setattr(gpu_stages, "MODELS", folder)
    return folder


def name_of_next(plan: Sequence[Stage], out: Path, model: str | None = None) -> str | None:
    stage = next_stage(plan, out, model)
    return None if stage is None else stage.name


def end(place: Place) -> None:
    place.model.mkdir(parents=True)
    (place.model / "model_index.json").write_text("{}")


def begin(place: Place) -> None:
    facts = {"config": {"training": {"num_steps": 9}}}
    states.write(place.run, State(3, {}, {}, {}, {}, facts))


def test_the_next_stage_is_the_first_that_has_not_ended(tmp_path: Path) -> None:
    assert name_of_next(PLAN, tmp_path) == "mnist-1"
    begin(Place(tmp_path, "mnist-1"))
    assert name_of_next(PLAN, tmp_path) == "mnist-1"
    end(Place(tmp_path, "mnist-1"))
    assert name_of_next(PLAN, tmp_path) == "mnist-2"
    assert name_of_next(PLAN, tmp_path, "emoji") == "emoji-1"
    end(Place(tmp_path, "mnist-2"))
    assert name_of_next(PLAN, tmp_path) == "cifar10-1"
    assert name_of_next(PLAN, tmp_path, "mnist") is None


def test_a_stage_that_has_begun_tells_that_those_before_it_have_ended(tmp_path: Path) -> None:
    begin(Place(tmp_path, "cifar10-2"))  # all that was carried here
    assert name_of_next(PLAN, tmp_path, "cifar10") == "cifar10-2"


def test_stages_of_an_included_model_have_ended(tmp_path: Path, models: Path) -> None:
    command = "ddpm train configs/gpu/mnist-{}.toml --start gpu-train/mnist-1/model"
    start = {"command": command.format(1), "trained": {"steps": 1}}
    (models / "mnist").mkdir(parents=True)
    card = models / "mnist" / "model_card.json"
    card.write_text(json.dumps(start))
    assert name_of_next(PLAN, tmp_path) == "mnist-2"
    card.write_text(json.dumps({"command": command.format(2), "trained": {"start": start}}))
    assert name_of_next(PLAN, tmp_path) == "cifar10-1"


def test_a_plan_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stages.toml"
    path.write_text('[[stage]]\nname = "a"\nmodel = "mnist"\ngoal = ""\nevaluate = ""\nstep = 3\n')
    with pytest.raises(ConfigError, match="stages.toml: stage 'a': step: unknown field"):
        read_plan(path)
