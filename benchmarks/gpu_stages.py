"""The plan of `benchmarks.gpu_train`: the stages of each included model, and which is the next.

configs/gpu/stages.toml lists them; the configuration of a stage is beside it, under its name.
"""

import json
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import flops
from benchmarks.tables import Cell, markdown
from diffusion.config import Config, WeightsType
from diffusion.fields import ConfigError, from_dict
from diffusion.folders import MODELS
from diffusion.model_card import CARD
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.training import states
from diffusion.unet import UNet

PLAN = Path("configs/gpu/stages.toml")
PEAK = 989e12
"""FLOP/s of an H100 or H200 in bfloat16, of dense matrices, as its maker says."""
SHARE = 0.3
"""Of the peak, what a network of good size should reach."""
MEASURED_CONFIG, MEASURED_RATE = Path("configs/cifar10-conditional.toml"), 4700
"""Images a second that this configuration was trained with on an H200: what was reached."""
PASSES = 3
"""A step takes the FLOPs of three calls: forwards, and backwards for weights and activations."""


@dataclass(frozen=True)
class Stage:
    """A training run of a model: its first stage begins with random weights, each other one with
    those of the stage before."""

    name: str
    model: str
    goal: str  # what it is to reach
    evaluate: str  # flags of `ddpm evaluate` that measure it
    weights: WeightsType = "float32"  # in which the model is stored
    minutes_at_share: float = 0.0  # on a GPU at SHARE of its peak
    minutes_as_measured: float = 0.0  # at the FLOP/s that were reached so far
    config: Path = Path()

    @property
    def evaluate_flags(self) -> list[str]:
        """The flags as a shell would split them."""
        return shlex.split(self.evaluate)

    def read_config(self) -> Config:
        """Read the configuration. Raises ConfigError."""
        return Config.read(self.config)


def read_plan(path: Path = PLAN) -> tuple[Stage, ...]:
    """Read a plan. Raises ConfigError, which names the file and the stage."""
    stages = []
    for values in tomllib.loads(path.read_text()).get("stage", []):
        try:
            config = path.parent / f"{values.get('name')}.toml"
            stages.append(from_dict(Stage, {**values, "config": config}))
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{path}: stage {values.get('name')!r}: {error}") from error
    return tuple(stages)


@dataclass(frozen=True)
class Place:
    """Where a stage's work is, below the folder of all sessions."""

    out: Path
    name: str

    @property
    def work(self) -> Path:
        """All that the stage has: run, model and report."""
        return self.out / self.name

    @property
    def run(self) -> Path:
        """The folder of `ddpm train`."""
        return self.work / "run"

    @property
    def model(self) -> Path:
        """The trained model, which is there when the stage has ended."""
        return self.work / "model"

    @property
    def report(self) -> Path:
        """The folder of `ddpm evaluate`."""
        return self.work / "report"

    @property
    def carry(self) -> Path:
        """The parts that are to be carried to the next machine."""
        return self.out / "carry" / self.name

    @property
    def is_done(self) -> bool:
        """Whether the stage has ended."""
        return (self.model / "model_index.json").is_file()

    @property
    def step(self) -> int:
        """How far the stage has come, by its last state; 0 where there is none."""
        reached = states.reached(self.run)
        return reached.step if reached else 0


def next_stage(plan: Sequence[Stage], out: Path, model: str | None = None) -> Stage | None:
    """The first stage that has not ended, of `model` or of any; None where all have.

    A stage has ended where the included model comes from it, or its own model, or anything of a
    later stage, is in `out`.
    """
    for name in dict.fromkeys(stage.model for stage in plan):
        stages = [stage for stage in plan if stage.model == name]
        first = 0
        for i, stage in enumerate(stages):
            place = Place(out, stage.name)
            if place.is_done or is_included(stage):
                first = i + 1
            elif place.step:
                first = i
        if model in (None, name) and first < len(stages):
            return stages[first]
    return None


def before(plan: Sequence[Stage], stage: Stage) -> Stage | None:
    """The stage whose weights a stage begins with."""
    stages = [each for each in plan if each.model == stage.model]
    i = stages.index(stage)
    return stages[i - 1] if i else None


def is_included(stage: Stage) -> bool:
    """Does the model in models/ come from this stage, by the commands on its card?"""
    path = MODELS / stage.model / CARD
    return path.exists() and any(
        stage.config.as_posix() in shlex.split(command)
        for command in _commands(json.loads(path.read_text()))
    )


def _commands(card: dict[str, Any]) -> Iterator[str]:
    """The commands that trained a model, the last one first."""
    while card:
        yield card.get("command") or ""
        card = card.get("trained", {}).get("start") or {}


def minutes(config: Config) -> tuple[float, float]:
    """The GPU minutes that a run takes: at SHARE of the peak, and at the FLOP/s reached so far."""
    training = config.training
    work = PASSES * image_flops(config) * training.num_steps * training.batch_size
    return work / (SHARE * PEAK) / 60, work / reached_flops() / 60


@cache
def reached_flops() -> float:
    """FLOP/s of the training run that was timed on a GPU."""
    return PASSES * image_flops(Config.read(MEASURED_CONFIG)) * MEASURED_RATE


def image_flops(config: Config) -> int:
    """Floating-point operations of the network's call for one image."""
    process = Process.from_config(config.process)
    with torch.random.fork_rng():
        return flops(EpsModel(UNet(config.unet), process, config.process.prediction))


def parameters(config: Config) -> int:
    """How many numbers the network learns."""
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(config.unet).parameters())


def table(plan: Sequence[Stage]) -> str:
    """The plan as a Markdown table."""
    rows: list[list[Cell]] = []
    for stage in plan:
        config = stage.read_config()
        at_share, as_measured = minutes(config)
        count = parameters(config)
        training = config.training
        rows.append([
            stage.name, f"{count / 1e6:.1f}M", f"{image_flops(config) / 1e9:.2f}",
            f"{training.num_steps:,} x {training.batch_size}",
            round(at_share, 1), round(as_measured, 1), stage.goal,
        ])  # fmt: skip
    header = [
        "stage", "parameters", "GFLOP an image", "steps x images",
        f"minutes at {SHARE:.0%} of peak", "minutes as measured", "goal",
    ]  # fmt: skip
    return markdown(header, rows)
