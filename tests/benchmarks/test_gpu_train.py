"""benchmarks.gpu_train: what is carried, the time that it keeps, and all of it once on a CPU."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu_stages, gpu_train
from benchmarks.carried import CarriedError, pack
from benchmarks.gpu_stages import Place, Stage
from benchmarks.gpu_train import limited, restore, state_files
from diffusion.checkpoint import open_checkpoint
from diffusion.config import Config
from diffusion.data import datasets
from diffusion.training.trainer import Trainer
from tests.tiny import UNET_TOML

STAGE = Stage("tiny-1", "tiny", goal="", evaluate="")
CONFIG = f"""
data = "{{data}}"
{UNET_TOML}
[training]
num_steps = 4
batch_size = 4
warmup_steps = 1
learning_rate = 1e-2
"""


def trainer(run: Path, folder: Path) -> Trainer:
    """A tiny trainer that goes on with the run of a folder."""
    data = folder / "data.npz"
    np.savez(data, images=np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8))
    config = Config.parse(CONFIG.format(data=data))
    return Trainer(config, datasets.load(config.data), run)


@pytest.fixture
def carried(tmp_path: Path) -> Place:
    """A stage of which two steps are taken and packed."""
    place = Place(tmp_path / "out", STAGE.name)
    trainer(place.run, tmp_path).run(until=2)
    (place.run / "log.jsonl").write_text('{"step": 2}\n')
    pack(state_files(place), place.carry, place.step)
    return place


def test_a_run_goes_on_from_what_was_carried(carried: Place, tmp_path: Path) -> None:
    here = trainer(carried.run, tmp_path)
    shutil.rmtree(carried.work)
    restore([STAGE], carried.out)
    there = trainer(carried.run, tmp_path)
    assert there.step == 2 and (carried.run / "log.jsonl").exists()
    for one, other in ((here.model, there.model), (here.ema.model, there.ema.model)):
        for name, weight in one.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name])
    moments = here.optimizer.state.values(), there.optimizer.state.values()
    for mine, theirs in zip(*moments, strict=True):
        assert mine["step"] == theirs["step"] == 2
        for moment in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(theirs[moment], mine[moment].bfloat16().float())
    for each in (here, there):
        each.train_step()
    for mine, theirs in zip(here.model.parameters(), there.model.parameters(), strict=True):
        # Adam moves a weight by about the learning rate, 1e-2; rounding changes that by 2^-8
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-4)


def test_what_was_carried_does_not_replace_what_is_as_far(carried: Place, tmp_path: Path) -> None:
    trainer(carried.run, tmp_path).run(until=3)
    restore([STAGE], carried.out)
    assert carried.step == 3


def test_a_damaged_part_ends_the_command_before_anything_is_trained(
    carried: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = next(carried.carry.iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    shutil.rmtree(carried.work)
    with pytest.raises(CarriedError, match="damaged"):
        restore([STAGE], carried.out)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_stages, "read_plan", lambda: (STAGE,))
    assert gpu_train.main([f"--out={carried.out}"]) == 2
    assert f"gpu_train: {part} is damaged: " in capsys.readouterr().err


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_is_asked_to_end_when_its_time_is_over() -> None:
    asked = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    status = limited(python(asked + "time.sleep(60)"), time.monotonic() + 2, patience=10)
    assert status in (143, -15)  # -15: asked before it could listen


@pytest.mark.slow
def test_a_command_that_does_not_end_is_killed() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    started = time.monotonic()
    assert limited(python(deaf), started + 3, patience=0.1) is None
    assert time.monotonic() - started < 50


def test_a_command_that_ends_by_itself_tells_its_status() -> None:
    assert limited(python("raise SystemExit(3)"), time.monotonic() + 60, patience=1) == 3


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_train.main([f"--out={tmp_path / 'out'}"]) == 2
    assert "no GPU: PyTorch finds none here; --tiny tries it on a CPU" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["1", "-3", "nan"])
def test_a_session_without_time_is_refused(
    minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_train.main([f"--minutes={minutes}"]) == 2
    assert "gpu_train: --minutes: " in capsys.readouterr().err


def test_the_plan_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = gpu_stages.read_plan()[0]
    monkeypatch.setattr(gpu_stages, "read_plan", lambda: (first,))
    assert gpu_train.main(["--plan"]) == 0
    assert "| mnist-1 |" in capsys.readouterr().out


@pytest.mark.slow
def test_all_stages_of_a_model_on_a_cpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny"
    assert gpu_train.main(["--tiny", "--model=cifar10", f"--out={tmp_path}"]) == 0
    told = capfd.readouterr().out
    assert "cifar10-1 has come to step 3" in told and "cifar10-1: step 3 was carried here" in told
    last = Place(out, "cifar10-2")
    model = open_checkpoint(last.model)
    assert model.name == "cifar10" and model.header.weights_type == "float16"
    assert "cifar10-1.toml" in model.card.trained["start"]["command"]
    assert json.loads((last.report / "report.json").read_text())["sha256"] == model.sha256
    shutil.rmtree(last.work)
    restore([Stage(last.name, "cifar10", "", "")], out)
    assert last.is_done and (last.report / "report.json").exists()
