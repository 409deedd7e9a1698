"""What is refused before a run begins."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from diffusion.config import TrainingConfig
from diffusion.training.checks import (
    check_data,
    check_folder,
    check_room,
    check_shares,
    check_until,
    memory_errors_told,
)
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached
from diffusion.training.trainer import Trainer
from tests.diffusion.training.test_trainer import CONFIG, images


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def test_a_batch_that_the_workers_cannot_share_is_refused() -> None:
    training = TrainingConfig(batch_size=8, accumulate=2)
    check_shares(training, 4)
    with pytest.raises(TrainingError, match="8 is not a multiple of 6: 3 workers, each"):
        check_shares(training, 3)


def test_images_of_another_shape_are_refused_with_what_they_need(tmp_path: Path) -> None:
    for shape, needed in (
        ((4, 3, 8, 8), r"need in_channels = 3 and sample_size = 8$"),
        ((4, 1, 8, 16), r"need in_channels = 1 and sample_size = \[8, 16\]$"),
    ):
        wrong = dataclasses.replace(images(), pixels=torch.zeros(shape, dtype=torch.uint8))
        with pytest.raises(TrainingError, match=needed):
            Trainer(CONFIG, wrong, tmp_path)


def test_a_class_without_images_needs_its_row_too() -> None:
    data = dataclasses.replace(images(), classes=("a", "b", "c", "d"))
    rows = len(data.classes) + (CONFIG.training.label_dropout > 0)
    unet = dataclasses.replace(CONFIG.unet, num_class_embeds=rows)
    check_data(dataclasses.replace(CONFIG, unet=unet), data)
    fewer = dataclasses.replace(unet, num_class_embeds=rows - 1)
    with pytest.raises(TrainingError, match=f"num_class_embeds: {rows - 1}, but the data needs"):
        check_data(dataclasses.replace(CONFIG, unet=fewer), data)


@pytest.mark.parametrize(
    ("until", "reached", "message"),
    [
        (0, None, "--until: 0 is not allowed; the first step is 1"),
        (4, Reached(5, 9), "--until: 4 is not allowed; the run has reached step 5 already"),
    ],
)
def test_a_step_that_is_passed_is_no_step_to_stop_at(
    until: int, reached: Reached | None, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        check_until(until, reached)


def test_a_run_may_stop_at_the_step_that_it_has_reached_or_later() -> None:
    for until, reached in ((None, None), (1, None), (5, Reached(5, 9)), (None, Reached(5, 9))):
        check_until(until, reached)


def test_the_folder_of_a_run_is_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, why in (
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "run", "Not a directory"),
        (Path("/proc/run"), "No such file or directory"),
    ):
        with pytest.raises(TrainingError, match=f"out: {place} cannot be written to: {why}"):
            check_folder(place)


def file(model: Path) -> None:
    model.write_text("")


def folder_of_something_else(model: Path) -> None:
    model.mkdir()
    (model / "notes.txt").write_text("")


@pytest.mark.parametrize("make", [file, folder_of_something_else])
def test_the_place_of_the_model_must_be_free(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "model")
    with pytest.raises(TrainingError, match=f"{tmp_path}/model is where the .* move it, or give"):
        check_folder(tmp_path)


def test_an_empty_folder_or_an_earlier_model_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    check_folder(tmp_path)
    (tmp_path / "model" / "model_index.json").write_text("{}")
    check_folder(tmp_path)
    assert (tmp_path / "model" / "model_index.json").exists(), "not before there is another one"


def test_a_disk_without_room_for_three_states_and_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = 10**9
    needed = 3 * 16 * parameters + 4 * parameters
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, needed))
    check_room(tmp_path, parameters, TrainingConfig())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, needed - 10**8))
    message = r"has 51\.9 GB left, but the run needs 52\.0 GB: 3 states of 16\.0 GB, and"
    with pytest.raises(TrainingError, match=message):
        check_room(tmp_path, parameters, TrainingConfig())
    (tmp_path / "states" / "step-00000001").mkdir(parents=True)
    (tmp_path / "states" / "step-00000001" / "state.json").touch()
    check_room(tmp_path, parameters, TrainingConfig())


def test_the_snapshots_still_to_come_need_room_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, training = 10**9, TrainingConfig(num_steps=100, snapshot_every=30)
    needed = 3 * (16 + 8) * parameters + 4 * parameters + 4 * 8 * parameters  # 30, 60, 90, 100
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, needed))
    check_room(tmp_path, parameters, training)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, needed - 10**8))
    message = r"3 states of 24\.0 GB, 4 snapshots of 8\.0 GB, and the model"
    with pytest.raises(TrainingError, match=message):
        check_room(tmp_path, parameters, training)
    check_room(tmp_path, parameters, training, step=30)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nStatistics: …"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("Unable to allocate 9 GiB"),
    ],
)
def test_memory_that_is_not_enough_is_told_with_what_to_change(error: Exception) -> None:
    message = "not enough for batches of 64 run in 2 parts; set a larger accumulate, .* allocate"
    training = TrainingConfig(batch_size=64, accumulate=2)
    with pytest.raises(TrainingError, match=message) as told, memory_errors_told(training):
        raise error
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [RuntimeError("a fault"), TrainingError("DefaultCPUAllocator")])
def test_other_errors_are_what_they_were(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory_errors_told(TrainingConfig()):
        raise error
    assert raised.value is error
