"""The saved states of a training run, from which it continues to the bit.

states/step-00001000/
    model.safetensors       the weights
    ema.safetensors         their moving average
    optimizer.safetensors   Adam's moments, named <number of the parameter>.<name>
    timesteps.safetensors   what importance sampling remembers; empty for uniform t
    state.json              the step, the configuration, and facts for the model card
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.atomic import atomic_folder, sync
from diffusion.config import Config
from diffusion.data.images import Images
from diffusion.fields import to_dict
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached

log = logging.getLogger(__name__)

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


def write(run: Path, state: State) -> Path:
    """Write a state to the folder `run`, whole or not at all, and remove all but KEEP_STATES.

    Returns the state's folder. Raises TrainingError where it cannot be written; the states before
    it are then still whole.
    """
    folder = run / "states" / f"step-{state.step:08d}"
    try:
        with atomic_folder(folder) as partial:
            for name in ("model", "ema", "optimizer", "timesteps"):
                # safetensors takes contiguous tensors only; channels_last ones are not
                whole = {key: tensor.contiguous() for key, tensor in getattr(state, name).items()}
                save_file(whole, partial / f"{name}.safetensors")
            facts = {"step": state.step, **state.facts}
            (partial / "state.json").write_text(json.dumps(facts, indent=2))
    except (OSError, SafetensorError) as error:
        last = saved_states(run)
        kept = f"{last[-1]} is whole, and" if last else "no state was saved before, so"
        raise TrainingError(
            f"the state of step {state.step} cannot be written to {run}: {error}; {kept} the same "
            f"command goes on from {'there' if last else 'the start'} once that is mended"
        ) from error
    for old in saved_states(run)[:-KEEP_STATES]:
        shutil.rmtree(old)
    return folder


def read(folder: Path) -> State:
    """Read a state from its folder, one of `saved_states`. Raises TrainingError where it is
    damaged."""
    try:
        facts = json.loads((folder / "state.json").read_text())
        return State(
            step=facts.pop("step"),
            model=load_file(folder / "model.safetensors"),
            ema=load_file(folder / "ema.safetensors"),
            optimizer=load_file(folder / "optimizer.safetensors"),
            timesteps=load_file(folder / "timesteps.safetensors"),
            facts=facts,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(folder, error) from error


def reached(run: Path) -> Reached | None:
    """How far the run in a folder has come; None where it has no state. Raises TrainingError where
    the last state is damaged."""
    saved = saved_states(run)
    if not saved:
        return None
    try:
        facts = json.loads((saved[-1] / "state.json").read_text())
        return Reached(facts["step"], facts["config"]["training"]["num_steps"])
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(saved[-1], error) from error


def set_num_steps(folder: Path, num_steps: int) -> None:
    """Note in a state that its run has another number of steps from now on."""
    path = folder / "state.json"
    facts = json.loads(path.read_text())
    if facts["config"]["training"]["num_steps"] != num_steps:
        facts["config"]["training"]["num_steps"] = num_steps
        partial = path.with_name(".state.json.partial")
        partial.write_text(json.dumps(facts, indent=2))
        sync(partial)
        os.replace(partial, path)


def _damaged(folder: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{folder} is damaged: {error}; remove that folder, and the run goes on from the state "
        "before it, or from the start where there is none"
    )


def remove_unfinished(run: Path) -> None:
    """Remove what is left of a state that was being written as the run was killed."""
    for partial in (run / "states").glob(".step-*"):
        shutil.rmtree(partial)


def check_same_run(run: Path, facts: dict[str, Any], config: Config, data: Images) -> None:
    """Raise TrainingError where a run's state, of these `facts`, had another configuration or other
    classes.

    The number of steps may differ. Another number of images is reported.
    """
    now = json.loads(json.dumps(to_dict(config)))
    del now["training"]["num_steps"]
    saved = facts["config"]
    if isinstance(saved.get("data"), str):  # as older versions wrote it
        saved = {**saved, "data": {"path": saved["data"]}}
    _check_same(saved, now, run)
    classes, images = facts.get("classes"), facts.get("images", len(data))
    if classes is not None and tuple(classes) != data.classes:
        raise TrainingError(
            f"data: {run} holds a run with the classes {', '.join(classes)}, not "
            f"{', '.join(data.classes)}; give another folder, or the images that it began with"
        )
    if images != len(data):
        log.warning("data: %d images; up to here the run had %d", len(data), images)


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
