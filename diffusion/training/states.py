"""The saved states of a training run, from which it continues to the bit.

states/step-00001000/
    model.safetensors       the weights
    ema.safetensors         their moving average
    optimizer.safetensors   Adam's moments, named <number of the parameter>.<name>
    timesteps.safetensors   what importance sampling remembers; empty for uniform t
    averages.safetensors    the averages that snapshots are of; only with snapshot_every
    state.json              the step, the configuration, and facts for the model card
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.atomic import atomic_folder, sync
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached

STATE = re.compile(r"step-(\d+)")
"""What the folder of a state is named, with the step."""
UNFINISHED = re.compile(r"\.step-\d+\..+")
"""What the folder of a state is named while it is written, replaced or removed."""
KEEP_STATES = 2
"""How many saved states stay on disk: the newest, and one more in case that is lost."""

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam remembers of each parameter, beside its number of steps."""
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
    averages: Tensors = field(default_factory=dict)  # of all lengths that snapshots are of


def saved_states(run: Path) -> list[Path]:
    """List the folders of the states saved in a run's folder, in the order of their steps.

    Others, such as the copy of a state under another name, are none of them.
    """
    steps: dict[Path, int] = {}
    for path in (run / "states").glob("step-*"):
        name = STATE.fullmatch(path.name)
        if name and (path / "state.json").is_file():
            steps[path] = int(name[1])
    return sorted(steps, key=steps.__getitem__)


def write(run: Path, state: State) -> Path:
    """Write a state to the folder `run`, whole or not at all, and remove all but KEEP_STATES.

    Returns the state's folder. Raises TrainingError where it cannot be written; the states before
    it are then still whole.
    """
    folder = run / "states" / f"step-{state.step:08d}"
    try:
        with atomic_folder(folder) as partial:
            names = ("model", "ema", "optimizer", "timesteps")
            for name in (*names, "averages") if state.averages else names:
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
        _remove(old)
    return folder


def _remove(folder: Path) -> None:
    """Remove a state; where the process is killed meanwhile, `remove_unfinished` does the rest."""
    hidden = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def read(folder: Path) -> State:
    """Read a state from its folder, one of `saved_states`. Raises TrainingError where it is
    damaged."""
    facts = read_facts(folder)
    averages = folder / "averages.safetensors"
    with damage_told(folder):
        return State(
            step=facts.pop("step"),
            model=load_file(folder / "model.safetensors"),
            ema=load_file(folder / "ema.safetensors"),
            optimizer=load_file(folder / "optimizer.safetensors"),
            timesteps=load_file(folder / "timesteps.safetensors"),
            facts=facts,
            averages=load_file(averages) if averages.exists() else {},
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """Read a state's facts, and among them its `step`. Raises TrainingError where they are
    damaged."""
    with damage_told(folder):
        facts = json.loads((folder / "state.json").read_text())
        if not isinstance(facts, dict) or not isinstance(facts["config"], dict):
            raise ValueError("state.json: it, and its config, must be JSON objects")
        whole = {
            "the step": _is_count(facts["step"]),
            "config": _is_count(facts["config"]["training"]["num_steps"]),
            "classes": isinstance(facts.get("classes", []), list),
            "start": isinstance(facts.get("start"), dict | None),
        }
        for name, is_whole in whole.items():
            if not is_whole:
                raise ValueError(f"state.json: {name} is of the wrong type")
        return dict(facts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def reached(run: Path) -> Reached | None:
    """How far the run in a folder has come; None where it has no state. Raises TrainingError where
    the last state is damaged."""
    saved = saved_states(run)
    if not saved:
        return None
    facts = read_facts(saved[-1])
    return Reached(facts["step"], facts["config"]["training"]["num_steps"])


def set_num_steps(folder: Path, num_steps: int) -> None:
    """Note in a state that its run has another number of steps from now on."""
    path = folder / "state.json"
    facts = read_facts(folder)
    if facts["config"]["training"]["num_steps"] != num_steps:
        facts["config"]["training"]["num_steps"] = num_steps
        partial = path.with_name(".state.json.partial")
        partial.write_text(json.dumps(facts, indent=2))
        sync(partial)
        os.replace(partial, path)


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """A block that uses what a state's folder holds, and raises TrainingError, which names it and
    what to do, where that is damaged: not to be read, or not this network's."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise TrainingError(
            f"{folder} is damaged: {' '.join(reason.split())}; remove that folder, and the run "
            "goes on from the state before it, or from the start where there is none"
        ) from error


def remove_unfinished(run: Path) -> None:
    """Remove what is left of a state that was being written or removed as the run was killed."""
    for partial in (run / "states").glob(".step-*"):
        if UNFINISHED.fullmatch(partial.name) and partial.is_dir():
            shutil.rmtree(partial)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the optimizer's tensors under flat names: `7.exp_avg` is of parameter number 7."""
    state: dict[int, Tensors] = optimizer.state_dict()["state"]
    return {f"{i}.{name}": tensor for i, entry in state.items() for name, tensor in entry.items()}


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], tensors: Tensors
) -> None:
    """Give an Adam of `parameters` the tensors that `optimizer_tensors` returned.

    Raises ValueError for those of other parameters.
    """
    state = optimizer.state_dict()
    state["state"] = {}
    shapes = {
        f"{i}.{name}": shape
        for i, parameter in enumerate(parameters)
        for name, shape in (("step", ()), *((each, parameter.shape) for each in MOMENTS))
    }
    check_shapes("optimizer.safetensors", tensors, shapes if tensors else {})
    for key, tensor in tensors.items():
        i, name = key.split(".")
        if tensor.dim():  # fused Adam walks memory: moments need their parameter's layout
            tensor = torch.empty_like(parameters[int(i)]).copy_(tensor)
        state["state"].setdefault(int(i), {})[name] = tensor
    optimizer.load_state_dict(state)


def check_shapes(file: str, found: Tensors, wanted: Mapping[str, Sequence[int]]) -> None:
    """Raise ValueError, naming the file and the tensor, unless those `found` have the names and the
    shapes `wanted`."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            raise ValueError(f"{file}: the tensor {name} is missing")
        if name not in wanted:
            raise ValueError(f"{file}: the tensor {name} is not this run's")
        here, there = tuple(found[name].shape), tuple(wanted[name])
        if here != there:
            raise ValueError(f"{file}: the tensor {name} has shape {here}, not {there}")
