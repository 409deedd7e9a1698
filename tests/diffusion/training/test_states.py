"""A run's saved states: whole or not there, and the same when read again."""

import json
from pathlib import Path

import pytest
import torch

from diffusion.config import Config, TrainingConfig, to_dict
from diffusion.training import states
from diffusion.training.errors import TrainingError
from diffusion.training.states import State, saved_states


def state(step: int = 0) -> State:
    return State(
        step=step,
        model={"weight": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)},
        ema={"weight": torch.rand(2)},
        optimizer={"0.step": torch.tensor(3.0)},
        timesteps={},
        facts={"config": {"data": "mnist"}, "classes": ["a"]},
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = state(step=7)
    states.write(tmp_path, written)
    (folder,) = saved_states(tmp_path)
    found = states.read(folder)
    assert (found.step, found.facts) == (7, written.facts)
    assert torch.equal(found.model["weight"], written.model["weight"])
    assert torch.equal(found.ema["weight"], written.ema["weight"])
    assert found.optimizer == written.optimizer and found.timesteps == {}


def test_the_newest_states_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        states.write(tmp_path, state(step))
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000004", "step-00000010"]


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path: Path) -> None:
    states.write(tmp_path, state())
    unfinished = tmp_path / "states" / ".step-00000001.partial"
    unfinished.mkdir()
    states.remove_unfinished(tmp_path)
    assert not unfinished.exists() and len(saved_states(tmp_path)) == 1


def test_a_run_of_another_configuration_is_told_by_the_field(tmp_path: Path) -> None:
    config = Config(training=TrainingConfig(batch_size=8))
    saved = json.loads(json.dumps(to_dict(config)))
    states.check_same_run(tmp_path, saved, config)
    saved["training"]["batch_size"] = 4
    with pytest.raises(TrainingError, match=r"a run with training\.batch_size = 4, not 8; give"):
        states.check_same_run(tmp_path, saved, config)


def test_an_optimizer_goes_on_with_its_moments() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.rand(2, 3, 4, 4, generator=generator, requires_grad=True)]
    first, second = (torch.optim.Adam(parameters) for _ in range(2))
    parameters[0].grad = torch.rand(parameters[0].shape, generator=generator)
    first.step()
    kept = states.optimizer_tensors(first)
    assert kept.keys() == {"0.step", "0.exp_avg", "0.exp_avg_sq"}
    states.load_optimizer(second, parameters, kept)
    again = states.optimizer_tensors(second)
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())
