"""A run's saved states: whole or not there, and the same when read again."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from diffusion.training import states
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached
from diffusion.training.states import State, saved_states
from tests.full_disk import no_room_for_more_than


def state(step: int = 0) -> State:
    return State(
        step=step,
        model={"weight": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)},
        ema={"weight": torch.rand(2)},
        optimizer={"0.step": torch.tensor(3.0)},
        timesteps={},
        facts={"config": {"training": {"num_steps": 20}}, "classes": ["a"]},
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = state(step=7)
    states.write(tmp_path, written)
    (folder,) = saved_states(tmp_path)
    found = states.read(folder)
    assert (found.step, found.facts) == (7, written.facts)
    assert torch.equal(found.model["weight"], written.model["weight"])
    assert torch.equal(found.ema["weight"], written.ema["weight"])
    assert found.optimizer == written.optimizer and found.timesteps == found.averages == {}


def test_the_averages_that_snapshots_are_of_are_part_of_a_state(tmp_path: Path) -> None:
    averages = {"0.05.weight": torch.rand(2)}
    folder = states.write(tmp_path, dataclasses.replace(state(), averages=averages))
    torch.testing.assert_close(states.read(folder).averages, averages, rtol=0, atol=0)


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


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "null",
        "3",
        '{"step": 1}',
        '{"step": "1", "config": {"training": {"num_steps": 2}}}',
        '{"step": 1, "config": []}',
        '{"step": 1, "config": {"training": {"num_steps": null}}}',
        '{"step": 1, "config": {"training": {"num_steps": 2}}, "classes": 3}',
    ],
)
def test_facts_that_are_no_facts_are_damaged(text: str, tmp_path: Path) -> None:
    folder = states.write(tmp_path, state())
    (folder / "state.json").write_text(text)
    for use in (lambda: states.reached(tmp_path), lambda: states.read(folder)):
        with pytest.raises(TrainingError, match=f"{folder} is damaged: .*; remove that folder"):
            use()


def test_only_folders_named_by_a_step_are_states(tmp_path: Path) -> None:
    for step in (2, 4):
        states.write(tmp_path, state(step))
    folder = tmp_path / "states"
    shutil.copytree(folder / "step-00000004", folder / "step-00000060.bak")
    shutil.copytree(folder / "step-00000002", folder / "step-00000003-best")
    (folder / "step-00000099").mkdir()
    (folder / "step-notes.txt").write_text("mine")
    (folder / ".step-notes").write_text("mine")
    assert states.reached(tmp_path) == Reached(step=4, num_steps=20)
    states.write(tmp_path, state(6))
    states.remove_unfinished(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".step-notes", "step-00000003-best", "step-00000004", "step-00000006",
        "step-00000060.bak", "step-00000099", "step-notes.txt",
    ]  # fmt: skip


def test_states_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000):
        states.write(tmp_path, state(step))
    assert states.reached(tmp_path) == Reached(step=100_000_000, num_steps=20)


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
