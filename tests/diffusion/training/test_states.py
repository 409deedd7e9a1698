"""A run's saved states: whole or not there, and the same when read again."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.config import Config, TrainingConfig
from diffusion.data.images import Images
from diffusion.fields import to_dict
from diffusion.training import states
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached
from diffusion.training.states import State, saved_states

IMAGES = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5) % 2, ("a", "c"))


def state(step: int = 0) -> State:
    return State(
        step=step,
        model={"weight": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)},
        ema={"weight": torch.rand(2)},
        optimizer={"0.step": torch.tensor(3.0)},
        timesteps={},
        facts={"config": {"training": {"num_steps": 20}}, "classes": ["a"]},
    )


def saved(config: Config) -> dict[str, Any]:
    """A configuration as a state.json has it."""
    return json.loads(json.dumps(to_dict(config)))


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
    facts = {"config": saved(config)}
    states.check_same_run(tmp_path, facts, config, IMAGES)
    facts["config"]["training"]["num_steps"] = 9  # this may change
    states.check_same_run(tmp_path, facts, config, IMAGES)
    facts["config"]["training"]["batch_size"] = 4
    with pytest.raises(TrainingError, match=r"a run with training\.batch_size = 4, not 8; give"):
        states.check_same_run(tmp_path, facts, config, IMAGES)


def test_classes_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    config = Config()
    facts = {"config": saved(config), "classes": ["a", "b"]}
    states.check_same_run(tmp_path, {**facts, "classes": ["a", "c"]}, config, IMAGES)
    with pytest.raises(TrainingError, match="a run with the classes a, b, not a, c; give another"):
        states.check_same_run(tmp_path, facts, config, IMAGES)


def test_another_number_of_images_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = {"config": saved(Config()), "images": 7}
    states.check_same_run(tmp_path, facts, Config(), IMAGES)
    assert "data: 5 images; up to here the run had 7" in caplog.text


def test_how_far_a_run_has_come_is_read_from_its_last_state(tmp_path: Path) -> None:
    assert states.reached(tmp_path) is None
    for step in (3, 10):
        states.write(tmp_path, state(step))
    assert states.reached(tmp_path) == Reached(step=10, num_steps=20)


def test_a_state_is_told_that_its_run_has_another_length(tmp_path: Path) -> None:
    folder = states.write(tmp_path, state(3))
    states.set_num_steps(folder, 30)
    assert states.reached(tmp_path) == Reached(step=3, num_steps=30)
    assert states.read(folder).facts["classes"] == ["a"]
    before = (folder / "state.json").stat()
    states.set_num_steps(folder, 30)
    assert (folder / "state.json").stat().st_ino == before.st_ino, "nothing to write"


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "timesteps.safetensors"])
def test_a_damaged_state_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    folder = states.write(tmp_path, state())
    (folder / name).write_bytes(b"{")
    message = f"{folder} is damaged: .*; remove that folder, and the run goes on from the state bef"
    with pytest.raises(TrainingError, match=message):
        states.read(folder)
    (folder / name).unlink()
    with pytest.raises(TrainingError, match=message):
        states.read(folder)


def test_a_state_without_a_step_is_damaged(tmp_path: Path) -> None:
    folder = states.write(tmp_path, state())
    (folder / "state.json").write_text("{}")
    with pytest.raises(TrainingError, match=f"{folder} is damaged"):
        states.reached(tmp_path)


@contextmanager
def no_room_for_more_than(count: int) -> Iterator[None]:
    """A block in which a file that grows beyond so many bytes is an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_state_that_does_not_fit_on_the_disk_leaves_the_one_before(tmp_path: Path) -> None:
    before = states.write(tmp_path, state(1))
    message = f"state of step 2 cannot be written to {tmp_path}: .*; {before} is whole, and"
    with no_room_for_more_than(200), pytest.raises(TrainingError, match=message):
        states.write(tmp_path, state(2))
    assert list((tmp_path / "states").iterdir()) == [before]
    assert states.read(before).step == 1


def test_it_is_said_when_nothing_was_saved_before(tmp_path: Path) -> None:
    with no_room_for_more_than(200):
        with pytest.raises(TrainingError, match="no state was saved before, so the same command"):
            states.write(tmp_path, state())


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
