"""Opening a checkpoint: everything in its folder is checked before the network is made."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion.checkpoint.configs import (
    PAPERS,
    check_fit,
    read_model_card,
    read_network,
    read_process,
)
from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.layout import find_layout
from diffusion.checkpoint.weight_files import WeightFiles, find_weights
from diffusion.checkpoint.weights import Header, WithoutInit, check_weights, read_weights
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard
from diffusion.networks.config import NetworkConfig
from diffusion.networks.network import Network
from diffusion.networks.registry import make_network
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.sources.find import Location, find_checkpoint

LATER_FIELDS = {"zero_terminal_snr": False}
"""Fields of configurations that are younger than fingerprints which jobs hold, and the value with
which they decide nothing."""
WITHOUT_SCHEDULER = (
    "there is no scheduler_config.json: the process is taken to be the paper's, linear betas from "
    "1e-4 to 0.02 in 1000 steps, and the network to predict eps; if it was trained otherwise, add "
    "scheduler/scheduler_config.json"
)


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk that has been checked: what it is, and where its weights are."""

    folder: Path
    weights: WeightFiles
    sha256: str  # of the weights, as WeightFiles.sha256 has it
    unet: NetworkConfig
    process: ProcessConfig
    card: ModelCard
    header: Header  # of the weights
    location: Location
    notes: tuple[str, ...] = ()  # what was decided for want of a file that says it

    @property
    def name(self) -> str:
        """The model's name: that on its card, or else its repository's or folder's."""
        return self.card.name or self.location.name

    @property
    def origin(self) -> dict[str, Any]:
        """Where the model came from, as a card's `source` says it; empty: nobody knows."""
        if self.location.revision is None:
            return self.card.source
        return {"hub": self.location.origin, "revision": self.location.revision}

    @property
    def source(self) -> str | None:
        """The built-in name, the repository on the Hub, or else the project that the model came
        from; None: nobody knows."""
        said = self.origin.get("hub") or self.origin.get("project") or self.location.origin
        return said if isinstance(said, str) else None

    @property
    def revision(self) -> str | None:
        """The commit of the repository on the Hub; None: it came from elsewhere."""
        said = self.origin.get("revision")
        return said if isinstance(said, str) else None

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
        parts = [dataclasses.asdict(config) for config in (self.unet, self.process)]
        for fields in parts:
            for name, default in LATER_FIELDS.items():
                if fields.get(name) == default:
                    fields.pop(name, None)
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


def open_checkpoint(source: str | Path | Location) -> Checkpoint:
    """Read what the folder says of a model, check its weights against it, and hash them.

    `find_checkpoint` looks for a source that has no location yet, which may be fetched. Raises
    CheckpointError when anything is missing, truncated or of the wrong shape, when the weights are
    a pickle, or the model is of a kind that this package cannot sample from.
    """
    try:
        return _open(source if isinstance(source, Location) else find_checkpoint(source))
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise CheckpointError(f"{error.filename or source}: {error.strerror}") from error


def _open(location: Location) -> Checkpoint:
    folder = location.folder
    layout = find_layout(folder)
    unet = read_network(layout.config)
    notes = list(layout.notes)
    if layout.scheduler is None:
        process = PAPERS
        notes.append(WITHOUT_SCHEDULER)
    else:
        process = read_process(layout.scheduler)
    check_fit(layout.config, unet, process)
    weights = find_weights(layout.network)
    if weights.variant is not None:
        notes.append(f"the weights are the variant {weights.variant}; there are no usual ones")
    header = check_weights(weights, unet)
    card = read_model_card(layout.card, unet, process)
    return Checkpoint(
        folder, weights, weights.sha256(), unet, process, card, header, location, tuple(notes)
    )  # last the hash, which takes the longest
