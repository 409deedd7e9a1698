"""Opening a checkpoint: everything in its folder is checked before the network is made."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from diffusion.checkpoint.configs import read_model_card, read_network, read_process
from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.source import find_checkpoint
from diffusion.checkpoint.weights import WEIGHTS, WithoutInit, check_weights, read_weights
from diffusion.config import ProcessConfig, check_channels
from diffusion.fields import ConfigError
from diffusion.model_card import CARD, ModelCard
from diffusion.networks.config import NetworkConfig
from diffusion.networks.network import Network
from diffusion.networks.registry import make_network
from diffusion.parameterization import EpsModel
from diffusion.process import Process


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk that has been checked: what it is, and where its weights are."""

    folder: Path
    weights: Path
    sha256: str  # of the weights file
    unet: NetworkConfig
    process: ProcessConfig
    card: ModelCard

    @property
    def name(self) -> str:
        """The model's name: that on its card, or else the folder's."""
        return self.card.name or self.folder.resolve().name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels 0 .. len - 1 that a sample may have; empty: unconditional."""
        rows = self.unet.num_class_embeds or 0
        count = rows if self.card.null_label is None else rows - 1
        return self.card.classes or tuple(str(k) for k in range(count))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides a sample's bytes beside the weights: the network's and the
        process' configuration, and what the labels mean."""
        parts = dataclasses.asdict(self.unet), dataclasses.asdict(self.process)
        text = json.dumps([*parts, self.classes, self.card.null_label], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self, device: torch.device | str = "cpu") -> Network:
        """Load the network as it was trained: float32, in evaluation mode, without gradients.

        Raises CheckpointError on damaged weights.
        """
        with WithoutInit():
            model = make_network(self.unet)
        model.load_state_dict(read_weights(self.weights), strict=True)
        return model.eval().requires_grad_(False).to(device)

    def eps_model(self, device: torch.device | str = "cpu") -> EpsModel:
        """Load the network wrapped to give eps_hat, whatever it predicts.

        Raises CheckpointError on damaged weights.
        """
        process = Process.from_config(self.process)
        return EpsModel(self.load(), process, self.process.prediction).eval().to(device)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Read what the folder says of a model, check its weights against it, and hash them.

    Raises CheckpointError when anything is missing, truncated or of the wrong shape, when the
    weights are a pickle, or the model is of a kind that this package cannot sample from.
    """
    try:
        return _open(find_checkpoint(source))
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise CheckpointError(f"{error.filename or source}: {error.strerror}") from error


def _open(folder: Path) -> Checkpoint:
    _check_no_run(folder)
    nested = (folder / "unet").is_dir()
    model_folder = folder / "unet" if nested else folder
    scheduler_folder = folder / "scheduler" if nested else folder
    unet = read_network(model_folder / "config.json")
    process = read_process(scheduler_folder / "scheduler_config.json")
    try:
        check_channels(unet, process)
        unet.check_labels()
    except ConfigError as error:
        raise CheckpointError(f"{model_folder / 'config.json'}: {error}") from error
    rows = unet.max_timesteps
    if rows is not None and rows < process.num_timesteps:
        raise CheckpointError(
            f"{model_folder / 'config.json'}: num_train_timesteps: {rows} embedding rows, but the "
            f"scheduler has {process.num_timesteps} timesteps"
        )
    weights = model_folder / WEIGHTS
    check_weights(weights, unet)
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    card = read_model_card(folder / CARD, unet, process)
    return Checkpoint(folder, weights, sha256, unet, process, card)


def _check_no_run(folder: Path) -> None:
    """Raise CheckpointError, which says where its model is, for the folder of a training run."""
    if any((folder / name).exists() for name in ("unet", "config.json")):
        return
    if (folder / "model" / "model_index.json").is_file():
        raise CheckpointError(f"{folder}: a run, whose model is in {folder / 'model'}; name that")
    if (folder / "states").is_dir():
        raise CheckpointError(
            f"{folder}: a run that has no model yet, which is written after its last step; until "
            f"then `ddpm export {folder} FOLDER` writes one from the last saved state"
        )
    if (folder / "lock.json").is_file():
        raise CheckpointError(f"{folder}: a run that has saved no state and no model yet")
