"""Training by two real processes under torchrun: the weights of one, and again after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from diffusion.training.distributed import Worker
from diffusion.training.errors import TrainingError
from diffusion.training.states import saved_states
from diffusion.training.trainer import Trainer
from tests.diffusion.training.test_trainer import images, state, with_training

SCRIPT = """
import sys
import time
from pathlib import Path
from diffusion.training import distributed
from diffusion.training.stopping import listening
from tests.diffusion.training.test_trainer import Trainer, images, with_training

with distributed.join("cpu") as (worker, device):
    config = with_training(num_steps=40, save_every=5)
    trainer = Trainer(config, images(), Path(sys.argv[1]), device, worker)
    step, pause = trainer.train_step, float(sys.argv[2])
    trainer.train_step = lambda: (step(), time.sleep(pause))
    with listening() as stop:
        number = trainer.run(stop=stop)
    if not number:
        assert not trainer._meter.losses, "nothing piles up in a worker that does not log"
    (Path(sys.argv[1]) / f"worker-{worker.rank}").write_text(f"{trainer.step} {number}")
"""
STEPS = 40
PAUSE_SECONDS = 0.05
"""After each step of the run that is to be killed, so that it is still running then."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("distributed") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def whole(script: Path) -> Path:
    """The folder of a run by two workers that nothing has stopped."""
    folder = script.parent / "whole"
    finish(script, folder)
    return folder


def torchrun(script: Path, *arguments: object) -> subprocess.Popen[Any]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
        script, *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    with (script.parent / "log").open("wb") as log:
        return subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)


def finish(script: Path, run: Path) -> None:
    """Train to the end; where that fails, show what the processes wrote."""
    status = torchrun(script, run, 0).wait(120)
    assert status == 0, (script.parent / "log").read_text(errors="replace")


def workers_of(launcher: int) -> Iterator[int]:
    """The launcher's children that run the script."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        if b"script.py" in Path(f"/proc/{child}/cmdline").read_bytes():
            yield int(child)


@pytest.mark.slow
def test_two_workers_give_the_weights_of_one(whole: Path, tmp_path: Path) -> None:
    # One process that runs each batch in the same two parts draws the same dropout.
    alone = with_training(num_steps=STEPS, save_every=5, accumulate=2)
    Trainer(alone, images(), tmp_path / "one").run()
    one, two = state(tmp_path / "one"), state(whole)
    assert one.keys() == two.keys()
    start = Trainer(alone, images(), tmp_path / "start").model.state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-4)
    moved = (one["model.conv_in.weight"] - start["conv_in.weight"]).abs().max()
    assert moved > 20 * 2e-4, "they agree by more than not having moved"


@pytest.mark.slow
def test_a_killed_worker_ends_the_job_and_it_resumes_to_the_same_weights(
    script: Path, whole: Path, tmp_path: Path
) -> None:
    launcher = torchrun(script, tmp_path / "killed", PAUSE_SECONDS)
    while launcher.poll() is None and not saved_states(tmp_path / "killed"):
        time.sleep(0.01)
    victim = list(workers_of(launcher.pid))[-1]
    os.kill(victim, signal.SIGKILL)
    assert launcher.wait(60) != 0, "the whole job ends"
    last = saved_states(tmp_path / "killed")[-1]
    assert last.name < f"step-{STEPS:08d}", "it was not done already"
    assert load_file(last / "model.safetensors"), "the last state is whole"
    finish(script, tmp_path / "killed")
    expected, killed = state(whole), state(tmp_path / "killed")
    for name, tensor in expected.items():
        assert torch.equal(tensor, killed[name]), name


@pytest.mark.slow
def test_all_workers_stop_at_the_same_step_whichever_is_asked_to(
    script: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "stopped"
    launcher = torchrun(script, run, PAUSE_SECONDS)
    while launcher.poll() is None and not saved_states(run):
        time.sleep(0.01)
    os.kill(list(workers_of(launcher.pid))[-1], signal.SIGTERM)
    assert launcher.wait(60) == 0
    told = [(run / f"worker-{rank}").read_text() for rank in (0, 1)]
    last = saved_states(run)[-1]
    assert told == [f"{int(last.name[5:])} {int(signal.SIGTERM)}"] * 2
    assert last.name < f"step-{STEPS:08d}", "it was not done already"
    finish(script, run)
    expected, resumed = state(whole), state(run)
    for name, tensor in expected.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_batch_that_the_workers_cannot_share_is_refused(tmp_path: Path) -> None:
    config = with_training(batch_size=8, accumulate=2)
    with pytest.raises(TrainingError, match="8 is not a multiple of 6: 3 workers, each"):
        Trainer(config, images(), tmp_path, worker=Worker(0, 3))


def test_alone_nothing_is_shared_and_nobody_waits() -> None:
    worker, model = Worker(), torch.nn.Linear(1, 1)
    assert worker.is_first and worker.share(model) is model
    assert worker.largest(7) == 7
    with worker.first_goes_first():
        pass
