"""The saved states of a training run, from which it continues to the bit.

states/step-00001000/
    model.safetensors       the weights
    ema.safetensors         their moving average
    optimizer.safetensors   Adam's moments, named <number of the parameter>.<name>
    timesteps.safetensors   what importance sampling remembers; empty for uniform t
    state.json              the step, the configuration, and facts for the model card
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.atomic import atomic_folder
from diffusion.config import Config, to_dict
from diffusion.training.errors import TrainingError

KEEP_STATES = 2
"""How many saved states stay on disk: the newest, and one more in case that is lost."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class State:
    """A training run after `step` steps."""

    step: int
    model: Tensors
    ema: Tensors
    optimizer: Tensors  # by `optimizer_tensors`
    timesteps: Tensors
    facts: dict[str, Any]  # config, classes, and where it was trained; JSON types


def saved_states(run: Path) -> list[Path]:
    """List the folders of the states saved in a run's folder, oldest first."""
    return sorted((run / "states").glob("step-*"))


def write(run: Path, state: State) -> None:
    """Write a state to the folder `run`, whole or not at all, and remove all but KEEP_STATES."""
    with atomic_folder(run / "states" / f"step-{state.step:08d}") as folder:
        for name in ("model", "ema", "optimizer", "timesteps"):
            # safetensors takes contiguous tensors only; channels_last ones are not
            whole = {key: tensor.contiguous() for key, tensor in getattr(state, name).items()}
            save_file(whole, folder / f"{name}.safetensors")
        facts = {"step": state.step, **state.facts}
        (folder / "state.json").write_text(json.dumps(facts, indent=2))
    for old in saved_states(run)[:-KEEP_STATES]:
        shutil.rmtree(old)


def read(folder: Path) -> State:
    """Read a state from its folder, one of `saved_states`."""
    facts = json.loads((folder / "state.json").read_text())
    return State(
        step=facts.pop("step"),
        model=load_file(folder / "model.safetensors"),
        ema=load_file(folder / "ema.safetensors"),
        optimizer=load_file(folder / "optimizer.safetensors"),
        timesteps=load_file(folder / "timesteps.safetensors"),
        facts=facts,
    )


def remove_unfinished(run: Path) -> None:
    """Remove what is left of a state that was being written as the run was killed."""
    for partial in (run / "states").glob(".step-*"):
        shutil.rmtree(partial)


def check_same_run(run: Path, saved: dict[str, Any], config: Config) -> None:
    """Raise TrainingError where the configuration `saved` in a run's state is not `config`."""
    if isinstance(saved.get("data"), str):  # as older versions wrote it
        saved = {**saved, "data": {"path": saved["data"]}}
    _check_same(saved, json.loads(json.dumps(to_dict(config))), run)


def _check_same(saved: dict[str, Any], now: dict[str, Any], run: Path, prefix: str = "") -> None:
    for key, value in now.items():
        if isinstance(value, dict):
            _check_same(saved.get(key, {}), value, run, f"{prefix}{key}.")
        elif key in saved and saved[key] != value:  # a run older than the field lacks it
            raise TrainingError(
                f"{run} holds a run with {prefix}{key} = {saved[key]!r}, not {value!r}; "
                "give another folder, or the configuration that the run was started with"
            )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the optimizer's tensors under flat names: `7.exp_avg` is of parameter number 7."""
    state: dict[int, Tensors] = optimizer.state_dict()["state"]
    return {f"{i}.{name}": tensor for i, entry in state.items() for name, tensor in entry.items()}


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], tensors: Tensors
) -> None:
    """Give an optimizer of `parameters` the tensors that `optimizer_tensors` returned."""
    state = optimizer.state_dict()
    state["state"] = {}
    for key, tensor in tensors.items():
        i, name = key.split(".")
        if tensor.dim():  # fused Adam walks memory: moments need their parameter's layout
            tensor = torch.empty_like(parameters[int(i)]).copy_(tensor)
        state["state"].setdefault(int(i), {})[name] = tensor
    optimizer.load_state_dict(state)
