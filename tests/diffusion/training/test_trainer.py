"""Algorithm 1: the loss, resuming to the bit, and stopping without harm."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.config import Config, DataConfig, ProcessConfig, TrainingConfig
from diffusion.data.images import Images
from diffusion.training import snapshots
from diffusion.training.errors import TrainingError
from diffusion.training.snapshots import saved_snapshots
from diffusion.training.states import saved_states
from diffusion.training.stopping import Stop
from diffusion.training.timestep_sampler import HISTORY
from diffusion.training.trainer import Trainer
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

CONFIG = Config(
    data=DataConfig("made up"),
    process=ProcessConfig(num_timesteps=100),
    unet=UNetConfig(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=4,
        dropout=0.2,
    ),
    training=TrainingConfig(
        num_steps=6,
        batch_size=8,
        warmup_steps=2,
        label_dropout=0.2,
        log_every=2,
        save_every=2,
        sample_every=0,
    ),
)


def with_training(**fields: object) -> Config:
    training = dataclasses.replace(CONFIG.training, **fields)  # type: ignore[arg-type]
    return dataclasses.replace(CONFIG, training=training)


def images(count: int = 20) -> Images:
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(made, torch.arange(count) % 3, ("a", "b", "c"))


def state(folder: Path) -> dict[str, torch.Tensor]:
    last = saved_states(folder)[-1]
    averages = ["averages"] if (last / "averages.safetensors").exists() else []
    return {
        f"{name}.{key}": tensor
        for name in ("model", "ema", "optimizer", *averages)
        for key, tensor in load_file(last / f"{name}.safetensors").items()
    }


def assert_same_tensors(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def assert_same_state(first: Path, second: Path) -> None:
    assert_same_tensors(state(first), state(second))


def test_the_weight_of_the_loss_at_each_t_is_in_the_gradient(tmp_path: Path) -> None:
    """Two steps on one image at one t differ by the weight at that t alone."""
    unet = dataclasses.replace(CONFIG.unet, dropout=0.0)
    gradients = []
    for gamma in (None, 1e-6):  # below every SNR: the weight is gamma / SNR
        config = dataclasses.replace(
            with_training(batch_size=1, min_snr_gamma=gamma, clip_norm=1e9), unet=unet
        )
        trainer = Trainer(config, images(), tmp_path / str(gamma))
        t = trainer.batches.at(0).t
        trainer.train_step()
        gradients.append(trainer.model.conv_out.bias.grad.clone())
    weight = 1e-6 / trainer.process.snr[t].item()
    torch.testing.assert_close(gradients[1], weight * gradients[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_resumed_run_gives_the_same_weights_as_an_uninterrupted_one(
    channels_last: bool, tmp_path: Path
) -> None:
    config = with_training(channels_last=channels_last, accumulate=2)
    Trainer(config, images(), tmp_path / "whole").run()
    first = Trainer(config, images(), tmp_path / "parts")
    for _ in range(3):
        first.train_step()
        if first.step == 2:
            first.save()
    resumed = Trainer(config, images(), tmp_path / "parts")
    assert resumed.step == 2, "step 3 was not saved"
    resumed.run()
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


def snapshots_of(folder: Path) -> dict[int, bytes]:
    return {step: path.read_bytes() for step, path in saved_snapshots(folder).items()}


def test_a_resumed_run_keeps_the_same_snapshots_as_an_uninterrupted_one(tmp_path: Path) -> None:
    config = with_training(num_steps=7, save_every=3, snapshot_every=2)
    Trainer(config, images(), tmp_path / "whole").run()
    killed = Trainer(config, images(), tmp_path / "parts")
    killed.run(until=3)
    for _ in range(3):
        killed.train_step()
    snapshots.write(killed.folder, 6, killed._averages())
    resumed = Trainer(config, images(), tmp_path / "parts")
    assert resumed.step == 3 and list(snapshots_of(tmp_path / "parts")) == [2, 6]
    resumed.run(until=5)
    assert list(snapshots_of(tmp_path / "parts")) == [2, 4], "that of step 6 is no longer its own"
    Trainer(config, images(), tmp_path / "parts").run()
    assert list(snapshots_of(tmp_path / "whole")) == [2, 4, 6, 7]
    assert snapshots_of(tmp_path / "parts") == snapshots_of(tmp_path / "whole")
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


def test_snapshots_change_nothing_else(tmp_path: Path) -> None:
    Trainer(CONFIG, images(), tmp_path / "without").run()
    Trainer(with_training(snapshot_every=2), images(), tmp_path / "with").run()
    without, also = state(tmp_path / "without"), state(tmp_path / "with")
    assert_same_tensors(without, {name: also[name] for name in without})
    files = {path.name for path in saved_states(tmp_path / "without")[-1].iterdir()}
    assert "averages.safetensors" not in files and not saved_snapshots(tmp_path / "without")


def test_snapshots_are_not_begun_in_the_middle_of_a_run(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.train_step()
    trainer.save()
    path = saved_states(tmp_path)[-1] / "state.json"
    saved = json.loads(path.read_text())
    message = r"training\.snapshot_every = 0, not 2; give another"
    for _ in range(2):
        with pytest.raises(TrainingError, match=message):
            Trainer(with_training(snapshot_every=2), images(), tmp_path)
        saved["config"]["training"].pop("snapshot_every", None)  # as older versions wrote it
        path.write_text(json.dumps(saved))
    assert Trainer(CONFIG, images(), tmp_path).step == 1


def test_a_resumed_run_remembers_which_timesteps_matter(tmp_path: Path) -> None:
    config = dataclasses.replace(
        with_training(
            loss="bound", timesteps="importance", batch_size=16, num_steps=60, save_every=50
        ),
        process=ProcessConfig(num_timesteps=25, variance="fixed_large"),
    )
    Trainer(config, images(), tmp_path / "whole").run()
    first = Trainer(config, images(), tmp_path / "parts")
    while first.step < 50:
        first.train_step()
    first.save()
    assert (first.batches.times.state()["counts"] >= HISTORY).all(), "it is in use"
    Trainer(config, images(), tmp_path / "parts").run()
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


KILLS = (0.0, 0.02, 0.05, 0.11, 0.23)
"""Seconds from a saved state to the kill: some while a state is written, some between two."""
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import torch
from diffusion.training.states import saved_states
from diffusion.training.trainer import Trainer
from tests.diffusion.training.test_trainer import KILLS, images, with_training

torch.set_num_threads(1)  # a process with threads cannot be forked
folder = Path(sys.argv[1])
Trainer(with_training(), images(), folder / "none")  # has PyTorch load what it loads late
trained = folder / "killed"

def start(run):
    child = os.fork()
    if child == 0:
        Trainer(with_training(num_steps=60, save_every=5), images(), folder / run).run()
        os._exit(0)
    return child

assert os.waitpid(start("whole"), 0)[1] == 0
killed = 0
for pause in KILLS:
    child, already = start("killed"), saved_states(trained)
    while saved_states(trained) == already and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(pause)
    try:
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    except (ProcessLookupError, ChildProcessError):
        break  # it was done already
assert killed
assert os.waitpid(start("killed"), 0)[1] == 0
"""


def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    # One process imports PyTorch, and forks every run that is to be killed.
    ended = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert_same_state(tmp_path / "whole", tmp_path / "killed")
    left = [path.name for path in (tmp_path / "killed" / "states").iterdir()]
    assert sorted(left) == ["step-00000055", "step-00000060"], "no half-written state stays"


def test_parts_of_a_batch_add_up_to_the_whole(tmp_path: Path) -> None:
    weights = []
    for accumulate in (1, 4):
        unet = dataclasses.replace(CONFIG.unet, dropout=0.0)
        config = dataclasses.replace(with_training(accumulate=accumulate), unet=unet)
        trainer = Trainer(config, images(), tmp_path / str(accumulate))
        trainer.train_step()
        weights.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-3)


def test_only_weights_that_were_saved_are_to_be_exported(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    with torch.no_grad():
        trainer.model.conv_in.bias[0] = math.nan
    with pytest.raises(TrainingError, match="lower learning_rate in a new run$"):
        trainer.train_step()
    trainer.save()
    with pytest.raises(TrainingError, match=f"`ddpm export {tmp_path} CHECKPOINT`"):
        trainer.train_step()


def test_a_loss_that_is_not_finite_stops_before_any_weight_is_touched(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.train_step()
    trainer.train_step()
    trainer.save()
    saved = state(tmp_path)
    with torch.no_grad():
        trainer.model.conv_in.bias[0] = math.nan
    before = [p.clone() for p in trainer.model.parameters()]
    message = "step 2: the loss or its gradient is not finite .* try a lower learning_rate in a new"
    with pytest.raises(TrainingError, match=message):
        trainer.train_step()
    for now, then in zip(trainer.model.parameters(), before, strict=True):
        assert torch.equal(now.nan_to_num(), then.nan_to_num())
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert Trainer(CONFIG, images(), tmp_path).step == 2


def test_training_learns(tmp_path: Path) -> None:
    unet = dataclasses.replace(CONFIG.unet, dropout=0.0)
    config = dataclasses.replace(with_training(num_steps=80, learning_rate=3e-3), unet=unet)
    white = torch.full((4, 1, 8, 8), 255, dtype=torch.uint8)
    plain = Images(white, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"))
    trainer = Trainer(config, plain, tmp_path)
    trainer.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[0].keys() >= {"step", "loss", "gradient_norm", "images_per_second"}


def test_only_the_last_two_states_are_kept(tmp_path: Path) -> None:
    Trainer(CONFIG, images(), tmp_path).run()
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000004", "step-00000006"]


def test_a_folder_with_a_run_of_another_configuration_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.save()
    with pytest.raises(TrainingError, match=r"training\.batch_size = 8, not 4; give another"):
        Trainer(with_training(batch_size=4), images(), tmp_path)


def test_a_run_older_than_a_field_of_the_configuration_goes_on(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.train_step()
    trainer.save()
    path = saved_states(tmp_path)[-1] / "state.json"
    saved = json.loads(path.read_text())
    del saved["config"]["training"]["compile"]
    path.write_text(json.dumps(saved))
    assert Trainer(CONFIG, images(), tmp_path).step == 1


@pytest.mark.parametrize("name", ["model", "ema", "optimizer", "timesteps", "averages"])
def test_a_state_with_the_tensors_of_another_network_is_damaged(name: str, tmp_path: Path) -> None:
    config = with_training(timesteps="importance", loss="bound", snapshot_every=1)
    trainer = Trainer(config, images(), tmp_path)
    trainer.train_step()
    trainer.save()
    folder = saved_states(tmp_path)[-1]
    path = folder / f"{name}.safetensors"
    tensors = load_file(path)
    first = sorted(tensors)[0]
    for others in (
        {**tensors, first: torch.zeros(3, 5, 7)},
        {**tensors, "0.other": torch.zeros(1)},
        {key: tensor for key, tensor in tensors.items() if key != first},
        {},
    ):
        save_file(others, path)
        message = rf"{folder} is damaged: {name}\.safetensors: .*; remove that folder"
        with pytest.raises(TrainingError, match=message):
            Trainer(config, images(), tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), None), r"the images are \(3, 8, 8\)"),
        (Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), None), "the data has no labels"),
        (
            Images(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.arange(9)),
            "num_class_embeds: 4, but the data needs 10",
        ),
    ],
)
def test_data_that_does_not_fit_the_network_is_refused(
    data: Images, message: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        Trainer(CONFIG, data, tmp_path)


def test_bfloat16_trains_float32_weights(tmp_path: Path) -> None:
    trainer = Trainer(with_training(precision="bfloat16"), images(), tmp_path)
    trainer.train_step()
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.model.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's, of its own parts
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_and_resumes_with_the_network_compiled(tmp_path: Path) -> None:
    config = with_training(precision="bfloat16", compile=True)
    for name, until in (("whole", None), ("parts", 4), ("parts", None)):
        Trainer(config, images(), tmp_path / name, "cuda").run(until=until)
    start = Trainer(config, images(), tmp_path / "start").model.state_dict()
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    moved = sum((whole[f"model.{name}"] - first).abs().sum() for name, first in start.items())
    apart = sum((whole[f"model.{name}"] - parts[f"model.{name}"]).abs().sum() for name in start)
    assert apart < 0.05 * moved  # sums of a GPU's backward pass come in any order


def test_a_run_may_start_from_another_ones_weights(tmp_path: Path) -> None:
    first = Trainer(CONFIG, images(), tmp_path / "first")
    first.train_step()
    first.save()
    trainer = Trainer(CONFIG, images(), tmp_path / "second", start=first.model)
    assert trainer.step == 0
    for net in (trainer.model, trainer.ema.model):
        assert_same_tensors(net.state_dict(), first.model.state_dict())
    before = first.model.state_dict()["conv_in.weight"].clone()
    trainer.train_step()
    trainer.save()
    assert torch.equal(first.model.state_dict()["conv_in.weight"], before)
    resumed = Trainer(CONFIG, images(), tmp_path / "second", start=first.model)
    assert_same_tensors(resumed.model.state_dict(), trainer.model.state_dict())


def test_a_run_that_learns_its_variance_may_start_from_one_that_did_not(tmp_path: Path) -> None:
    first = Trainer(CONFIG, images(), tmp_path / "first")
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.normal_(std=0.1)
    config = dataclasses.replace(
        with_training(loss="bound"),
        process=dataclasses.replace(CONFIG.process, variance="learned_range"),
        unet=dataclasses.replace(CONFIG.unet, out_channels=2),
    )
    model = Trainer(config, images(), tmp_path / "second", start=first.model).model
    x_t, t, label = torch.randn(3, 1, 8, 8), torch.tensor([0, 50, 99]), torch.tensor([0, 1, 3])
    eps_hat, v = model.eval()(x_t, t, label).detach().chunk(2, dim=1)
    torch.testing.assert_close(eps_hat, first.model.eval()(x_t, t, label).detach())
    assert 0 < v.abs().max() < 1e-3, "halfway between the two fixed variances, in logs"


def test_a_start_of_another_network_is_refused(tmp_path: Path) -> None:
    unet = dataclasses.replace(CONFIG.unet, num_class_embeds=None)
    message = r"start: its network .* class_embedding.weight is missing there, \(4, 32\) here"
    with pytest.raises(TrainingError, match=message):
        Trainer(CONFIG, images(), tmp_path, start=UNet(unet))


def stopped_by(number: int) -> Stop:
    stop = Stop()
    stop.number = number
    return stop


def test_a_stop_ends_a_run_after_its_step_with_a_saved_state(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    assert trainer.run(stop=stopped_by(15)) == 15
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000001"]
    assert Trainer(CONFIG, images(), tmp_path).run() == 0
    Trainer(CONFIG, images(), tmp_path / "whole").run()
    assert_same_state(tmp_path, tmp_path / "whole")


def test_a_run_that_is_done_needs_no_stop(tmp_path: Path) -> None:
    Trainer(CONFIG, images(), tmp_path).run()
    assert Trainer(CONFIG, images(), tmp_path).run(stop=stopped_by(2)) == 0


def logged_steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_no_step_is_logged_twice_by_a_run_that_was_killed(tmp_path: Path) -> None:
    config = with_training(log_every=1)

    class Killed(Exception):
        pass

    trainer = Trainer(config, images(), tmp_path)
    step = trainer.train_step

    def train_step() -> None:
        if trainer.step == 3:
            raise Killed
        step()

    trainer.train_step = train_step  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.run()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    resumed = Trainer(config, images(), tmp_path)
    assert resumed.step == 2
    resumed.run()
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_trainer_changes_nothing_in_its_folder_before_it_runs(tmp_path: Path) -> None:
    unfinished = tmp_path / "states" / ".step-00000001.partial"
    unfinished.mkdir(parents=True)
    (tmp_path / "log.jsonl").write_text('{"step": 7, "loss": 1}\n')
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.train_step()
    assert unfinished.exists() and logged_steps(tmp_path) == [7]
    trainer.run()
    assert not unfinished.exists()


def test_a_run_of_another_length_goes_on_and_remembers_it(tmp_path: Path) -> None:
    cosine = with_training(decay="cosine")
    Trainer(cosine, images(), tmp_path).run()
    for num_steps in (8, 9, 9):
        longer = with_training(decay="cosine", num_steps=num_steps)
        trainer = Trainer(longer, images(), tmp_path)
        trainer.run()
        assert trainer.step == num_steps and trainer.is_done
        saved = json.loads((saved_states(tmp_path)[-1] / "state.json").read_text())
        assert saved["config"]["training"]["num_steps"] == num_steps


def test_a_run_cut_short_where_it_is_remembers_that_too(tmp_path: Path) -> None:
    Trainer(CONFIG, images(), tmp_path).run(until=4)
    Trainer(with_training(num_steps=4), images(), tmp_path).run()
    saved = json.loads((saved_states(tmp_path)[-1] / "state.json").read_text())
    assert (saved["step"], saved["config"]["training"]["num_steps"]) == (4, 4)


def sampled(run: Path, **fields: object) -> list[tuple[int, str]]:
    """At which steps a run draws samples, each with the last state on disk by then."""
    seen = []

    def on_sample(trainer: Trainer, writer: object) -> None:
        assert writer is None
        seen.append((trainer.step, saved_states(run)[-1].name))

    Trainer(with_training(**fields), images(), run).run(on_sample=on_sample)
    return seen


def test_samples_come_after_the_state_is_saved_and_at_the_last_step(tmp_path: Path) -> None:
    seen = sampled(tmp_path / "some", sample_every=4, save_every=5)
    assert seen == [(4, "step-00000004"), (6, "step-00000006")]
    assert sampled(tmp_path / "none", sample_every=0) == []


def test_a_run_that_is_asked_to_stop_draws_no_samples(tmp_path: Path) -> None:
    trainer = Trainer(with_training(sample_every=1), images(), tmp_path)
    trainer.run(on_sample=lambda *_: pytest.fail("drawn"), stop=stopped_by(2))
    assert trainer.step == 1


def test_after_ten_steps_the_time_left_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Trainer(with_training(num_steps=9), images(), tmp_path / "short").run()
    assert capsys.readouterr().out == ""
    Trainer(with_training(num_steps=12), images(), tmp_path / "long").run()
    assert re.fullmatch(r"about \d+ s left, at \S+ s a step\n", capsys.readouterr().out)


def test_a_folder_that_cannot_be_changed_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=f"out: {tmp_path} cannot be changed: "):
        Trainer(CONFIG, images(), tmp_path).run()
