"""Where the files of a checkpoint are in its folder.

ROOT/model_index.json, ROOT/unet/, ROOT/scheduler/    a pipeline of diffusers
ROOT/config.json and all others beside it             the first DDPM releases
ROOT/unet/ or ROOT/unet_ema/ alone                    a state of diffusers' training script
config.json and weights alone                         `unet.save_pretrained`
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.checkpoint.classes import check_folders, check_pipeline, parts_of
from diffusion.checkpoint.configs import read_json
from diffusion.checkpoint.errors import CheckpointError
from diffusion.model_card import CARD
from diffusion.networks.registry import KINDS

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
MAX_FOLDERS = 100
"""Folders that are looked through for a network."""


@dataclass(frozen=True)
class Layout:
    """The files of a checkpoint; what is in them has not been looked at, but for its index."""

    folder: Path  # as it was named
    pipeline: str | None  # the class that model_index.json names
    network: Path  # the folder of config.json and the weights
    scheduler: Path | None  # scheduler_config.json; None: the folder has none, and promises none
    notes: tuple[str, ...]  # what was decided where the folder left a choice

    @property
    def config(self) -> Path:
        """The network's config.json."""
        return self.network / CONFIG

    @property
    def card(self) -> Path:
        """Where a model card would be."""
        return self.folder / CARD


def find_layout(folder: Path) -> Layout:
    """Find the files of the checkpoint in a folder.

    Raises CheckpointError where there is no network, where the choice between several is open, and
    where the parts beside the network rule it out.
    """
    _check_no_run(folder)
    root = _root(folder)
    index = _index(root)
    check_pipeline(root / INDEX, index)
    check_folders(root)
    network, notes = (folder, []) if root != folder else _network(folder, index)
    scheduler = _scheduler(root, index)
    if root != folder and scheduler is not None:
        notes = [f"the scheduler is that of the pipeline around it, {scheduler}"]
    pipeline = index.get("_class_name")
    return Layout(folder, pipeline, network, scheduler, tuple(notes))


def _root(folder: Path) -> Path:
    """The folder of the pipeline: the one around `folder` where that is one of its parts."""
    if not (folder / CONFIG).exists() or (folder / SCHEDULER).exists():
        return folder
    around = folder.resolve().parent
    is_part = (around / INDEX).exists() or (around / "scheduler" / SCHEDULER).exists()
    return around if is_part else folder


def _index(root: Path) -> Mapping[str, Any]:
    return read_json(root / INDEX) if (root / INDEX).exists() else {}


def _network(folder: Path, index: Mapping[str, Any]) -> tuple[Path, list[str]]:
    """The folder of the network, and what is to be said of the choice."""
    averaged = folder / "unet_ema"
    if (folder / "unet").is_dir():
        hint = f"unet_ema/ holds averaged weights that are not used; to use them, name {averaged}"
        return folder / "unet", [hint] if averaged.is_dir() else []
    listed = [part for part, kind in parts_of(index).items() if kind in KINDS]
    for part in listed:
        if Path(part).name == part and (folder / part).is_dir():
            return folder / part, [f"the network is in {part}/, as {INDEX} says"]
    if (folder / CONFIG).exists():
        return folder, []
    if averaged.is_dir():
        return averaged, ["the network is in unet_ema/: averaged weights"]
    return _only_network(folder)


def _only_network(folder: Path) -> tuple[Path, list[str]]:
    """The only folder in `folder` that has a network's files."""
    found = sorted(path for path in _folders(folder) if (path / CONFIG).is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CheckpointError(f"{folder}: several networks ({names})", "name one of the folders")
    if not found:
        raise CheckpointError(
            f"{folder / CONFIG}: no such file",
            "a checkpoint is a folder of diffusers, with unet/config.json and its weights",
        )
    return found[0], [f"the network is in {found[0].name}/"]


def _folders(folder: Path) -> Iterator[Path]:
    """The first folders in a folder."""
    for number, path in enumerate(folder.iterdir()):
        if number == MAX_FOLDERS:
            return
        if path.is_dir():
            yield path


def _scheduler(root: Path, index: Mapping[str, Any]) -> Path | None:
    """Where the scheduler's file is, or should be: a pipeline without one is damaged."""
    places = [root / "scheduler" / SCHEDULER, root / SCHEDULER]
    found = next((path for path in places if path.exists()), None)
    if found is None and index:
        return places[0] if (root / "unet").is_dir() else places[1]
    return found


def _check_no_run(folder: Path) -> None:
    """Raise CheckpointError, which says where its model is, for the folder of a training run."""
    if any((folder / name).exists() for name in ("unet", CONFIG)):
        return
    if (folder / "model" / INDEX).is_file():
        raise CheckpointError(f"{folder}: a run, whose model is in {folder / 'model'}; name that")
    if (folder / "states").is_dir():
        raise CheckpointError(
            f"{folder}: a run that has no model yet, which is written after its last step; until "
            f"then `ddpm export {folder} FOLDER` writes one from the last saved state"
        )
    if (folder / "lock.json").is_file():
        raise CheckpointError(f"{folder}: a run that has saved no state and no model yet")
