"""Averages of any length, made of the snapshots of two."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.config import TrainingConfig
from diffusion.fields import ConfigError
from diffusion.training import snapshots
from diffusion.training.ema import EMA, power_function
from diffusion.training.errors import TrainingError
from diffusion.training.snapshots import SIGMA_RELS, average, mixture, saved_snapshots
from tests.full_disk import no_room_for_more_than

STEPS, EVERY, SIZE = 400, 20, 500


def walk() -> torch.Tensor:
    """Weights (step, SIZE) that walk at random, float64, from 3 on: after each of STEPS steps."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(STEPS, SIZE, generator=generator, dtype=torch.float64)
    return 3 + 0.1 * steps.cumsum(0)


def direct(weights: torch.Tensor, sigma_rel: float) -> torch.Tensor:
    """The power-function average of all weights: each step's share of the integral of x^gamma."""
    low, high = 0.0, 1e6
    for _ in range(200):  # bisection: the deviation of the density falls as gamma grows
        gamma = (low + high) / 2
        deviation = math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)
        low, high = (gamma, high) if deviation > sigma_rel else (low, gamma)
    edges = torch.linspace(0, 1, len(weights) + 1, dtype=torch.float64) ** (gamma + 1)
    return (edges.diff()[:, None] * weights).sum(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, with the snapshots of weights that walk at random, kept in float64."""
    folder = tmp_path_factory.mktemp("run")
    model = torch.nn.Linear(SIZE, 1, bias=False).double()
    averages = {each: EMA(model, power_function(each)) for each in SIGMA_RELS}
    for step, weights in enumerate(walk()):
        with torch.no_grad():
            model.weight.copy_(weights[None])
        for ema in averages.values():
            ema.update(model, step)
        if (step + 1) % EVERY == 0:
            kept = {f"{each}.weight": ema.model.weight for each, ema in averages.items()}
            snapshots.write(folder, step + 1, kept)
    return folder


@pytest.mark.parametrize(
    ("sigma_rel", "tolerance"),
    [(0.03, 3e-2), (0.07, 2e-3), (0.08, 2e-3), (0.12, 2e-3), (0.2, 2e-2), (0.25, 7e-2)],
)
def test_an_average_of_another_length_is_near_the_one_of_all_steps(
    sigma_rel: float, tolerance: float, run: Path
) -> None:
    """Near for how far apart averages are: the root of the mean square, as a share of that of the
    difference between the averages that were kept."""
    made = average(run, sigma_rel).weights["weight"][0].double()
    short, long = (direct(walk(), each) for each in SIGMA_RELS)
    error = (made - direct(walk(), sigma_rel)).norm() / (short - long).norm()
    assert error < tolerance


@pytest.mark.parametrize("step", [EVERY, 7 * EVERY, STEPS])
@pytest.mark.parametrize("sigma_rel", SIGMA_RELS)
def test_the_averages_that_were_kept_are_made_exactly(
    sigma_rel: float, step: int, run: Path
) -> None:
    made = average(run, sigma_rel, step)
    kept = load_file(saved_snapshots(run)[step])[f"{sigma_rel}.weight"]
    expected = direct(walk()[:step], sigma_rel)
    torch.testing.assert_close(made.weights["weight"], kept.float(), rtol=2e-7, atol=0)
    torch.testing.assert_close(kept[0], expected, rtol=1e-10, atol=0)
    assert (made.step, made.sigma_rel) == (step, sigma_rel) and made.misfit < 1e-6


def test_without_a_step_it_is_the_last_one(run: Path) -> None:
    last, same = average(run, 0.08), average(run, 0.08, STEPS)
    assert last.step == STEPS and torch.equal(last.weights["weight"], same.weights["weight"])


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("sigma_rel", [0.01, 0.08, 0.28])
def test_what_does_not_move_is_its_own_average(count: int, sigma_rel: float) -> None:
    shares, _ = mixture([50 * (k + 1) for k in range(count)], SIGMA_RELS, sigma_rel)
    assert shares.sum() == pytest.approx(1, abs=1e-9)


def profile(t: float, sigma_rel: float, at: np.ndarray) -> np.ndarray:
    """The density of an average as of `t`, whose decay tells it at whole numbers of many steps."""
    decay = power_function(sigma_rel)(9999)  # (1 - 1/10000)^(gamma + 1)
    gamma = math.log(decay) / math.log1p(-1e-4) - 1
    return np.where(at < t, (gamma + 1) * (at / t) ** gamma / t, 0)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.15])
def test_no_other_shares_that_add_up_to_one_fit_better(sigma_rel: float) -> None:
    steps = [100, 200, 300]
    shares, misfit = mixture(steps, SIGMA_RELS, sigma_rel)
    at = np.linspace(0, 300, 300_001)[:-1] + 0.0005  # the middles of short pieces
    kept = np.stack([profile(t, each, at) for t in steps for each in SIGMA_RELS])
    wanted = profile(300, sigma_rel, at)

    def distance(x: np.ndarray) -> float:
        return float(np.linalg.norm(x @ kept - wanted) / np.linalg.norm(wanted))

    best = shares.ravel()
    assert distance(best) == pytest.approx(misfit, rel=1e-4)
    for other in np.random.default_rng(0).normal(size=(20, best.size)):
        assert distance(best + 1e-2 * (other - other.mean())) > misfit


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.005, 0.29, 3.0, math.nan, math.inf])
def test_a_length_that_cannot_be_made_is_refused(sigma_rel: float, run: Path) -> None:
    message = re.escape(f"--sigma-rel: {sigma_rel} is not allowed; it must be 0.01..0.28")
    with pytest.raises(ConfigError, match=message):
        average(run, sigma_rel)


@pytest.mark.parametrize(
    ("step", "nearest"), [(30, "20 and 40"), (399, "380 and 400"), (0, "20 and 40")]
)
def test_a_step_without_a_snapshot_is_refused_with_the_nearest_that_have_one(
    step: int, nearest: str, run: Path
) -> None:
    message = f"--step: {step} is not allowed; {run} has no snapshot of that .* are of {nearest}$"
    with pytest.raises(TrainingError, match=message):
        average(run, 0.1, step)


def test_a_run_without_snapshots_is_told_how_one_keeps_them(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"{tmp_path} has no snapshots .* snapshot_every in"):
        average(tmp_path, 0.1)


def test_a_damaged_snapshot_is_named(tmp_path: Path) -> None:
    for step in (1, 2):
        kept = {f"{each}.weight": torch.rand(3) for each in SIGMA_RELS}
        snapshots.write(tmp_path, step, kept)
    path = saved_snapshots(tmp_path)[2]
    for others in (
        {"0.05.weight": torch.rand(3)},
        {"0.05.weight": torch.rand(3), "0.1.weight": torch.rand(4)},
        {**kept, "0.1.other": torch.rand(3)},
    ):
        save_file(others, path)
        with pytest.raises(TrainingError, match=f"{path} is damaged: .*; remove it"):
            average(tmp_path, 0.1)
    path.write_bytes(b"{")
    with pytest.raises(TrainingError, match=f"{path} is damaged: .*; remove it"):
        average(tmp_path, 0.1)
    path.unlink()
    assert average(tmp_path, 0.1).step == 1


def test_the_snapshots_after_a_step_are_removed_and_what_was_left_unfinished(
    tmp_path: Path,
) -> None:
    snapshots.cut_back(tmp_path, 0)
    for step in (2, 4, 100_000_000):
        snapshots.write(tmp_path, step, {"0.05.weight": torch.rand(3)})
    folder = tmp_path / "snapshots"
    (folder / ".partial-abc").touch()
    (folder / "step-notes.txt").touch()
    snapshots.cut_back(tmp_path, 4)
    left = ["step-00000002.safetensors", "step-00000004.safetensors", "step-notes.txt"]
    assert sorted(path.name for path in folder.iterdir()) == left
    assert list(saved_snapshots(tmp_path)) == [2, 4]


def test_a_snapshot_that_does_not_fit_on_the_disk_is_told(tmp_path: Path) -> None:
    message = f"the snapshot of step 7 cannot be written to {tmp_path}: .* goes on from the last"
    with no_room_for_more_than(200), pytest.raises(TrainingError, match=message):
        snapshots.write(tmp_path, 7, {"0.05.weight": torch.rand(300)})
    assert not list((tmp_path / "snapshots").iterdir())


@pytest.mark.parametrize("num_steps", [1, 9, 10, 11])
@pytest.mark.parametrize("every", [0, 1, 3, 5, 20])
def test_snapshots_are_due_every_so_many_steps_and_at_the_last_one(
    num_steps: int, every: int
) -> None:
    training = TrainingConfig(num_steps=num_steps, snapshot_every=every)
    due = [
        step
        for step in range(1, num_steps + 1)
        if every and (step % every == 0 or step == num_steps)
    ]
    each = [k for k in range(1, num_steps + 1) if snapshots.num_due(training, k, k)]
    assert each == due
    for first in range(1, num_steps + 2):
        count = snapshots.num_due(training, first, num_steps)
        assert count == sum(step >= first for step in due)
