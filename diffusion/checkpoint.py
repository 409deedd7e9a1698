"""Models on disk, in the folder format of diffusers. Pickles are never loaded: they can run code.

    model_index.json                               which classes diffusers should build
    unet/config.json                               UNetConfig, field for field
    unet/diffusion_pytorch_model.safetensors       the weights (of the EMA)
    scheduler/scheduler_config.json                the process and how it is reversed
    model_card.json                                what the others have no field for; optional

The flat layout of the first DDPM releases, all files in one folder, can be read too.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffusion.atomic import atomic_folder
from diffusion.config import ProcessConfig, check_channels
from diffusion.fields import ConfigError, from_dict
from diffusion.folders import MODELS
from diffusion.json_file import read_object
from diffusion.model_card import CARD, ModelCard, read_card, write_card
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.scheduler_json import read_scheduler, scheduler_json
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_NAME = re.compile(rf"(attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.")
MAX_HEADER_BYTES = 4 << 20
"""Of a safetensors file: about 100 bytes a tensor."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk that has been checked: what it is, and where its weights are."""

    folder: Path
    weights: Path
    sha256: str  # of the weights file
    unet: UNetConfig
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

    def load(self, device: torch.device | str = "cpu") -> UNet:
        """Load the network as it was trained: float32, in evaluation mode, without gradients.

        Raises CheckpointError on damaged weights.
        """
        with WithoutInit():
            model = UNet(self.unet)
        model.load_state_dict(_read_weights(self.weights), strict=True)
        return model.eval().requires_grad_(False).to(device)

    def eps_model(self, device: torch.device | str = "cpu") -> EpsModel:
        """Load the network wrapped to give eps_hat, whatever it predicts.

        Raises CheckpointError on damaged weights.
        """
        process = Process.from_config(self.process)
        return EpsModel(self.load(), process, self.process.prediction).eval().to(device)


def find_checkpoint(source: str | Path) -> Path:
    """Return the folder of a built-in name, such as `mnist`, or of a path, such as `./mnist`.

    Raises CheckpointError, naming the built-in models, where there is neither.
    """
    folder = Path(source)
    if str(source) == folder.name and (MODELS / folder / "model_index.json").is_file():
        return MODELS / folder
    if folder.is_dir():
        return folder
    built_in = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/model_index.json")))
    raise CheckpointError(f"{source}: no such folder, and not a built-in model ({built_in})")


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
    unet = _unet_config(model_folder / "config.json")
    process = _process_config(scheduler_folder / "scheduler_config.json")
    try:
        check_channels(unet, process)
    except ConfigError as error:
        raise CheckpointError(f"{model_folder / 'config.json'}: {error}") from error
    rows = unet.num_train_timesteps
    if unet.time_embedding_type == "learned" and rows is not None and rows < process.num_timesteps:
        raise CheckpointError(
            f"{model_folder / 'config.json'}: num_train_timesteps: {rows} embedding rows, but the "
            f"scheduler has {process.num_timesteps} timesteps"
        )
    weights = model_folder / WEIGHTS
    _check_weights(weights, unet)
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    card = _card(folder / CARD, unet, process)
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


def _unet_config(path: Path) -> UNetConfig:
    values = _read_json(path)
    known = {field.name for field in dataclasses.fields(UNetConfig)}
    # Names such as "_class_name" are diffusers' own; a field that we do not know may change the
    # network, so it is refused rather than ignored.
    values = {k: v for k, v in values.items() if not k.startswith("_")}
    unknown = sorted(k for k in values.keys() - known if values[k] is not None)
    if unknown:
        raise CheckpointError(f"{path}: {unknown[0]}: not a field of an unconditional UNet2DModel")
    try:
        config = from_dict(UNetConfig, {k: values[k] for k in values.keys() & known})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config


def _process_config(path: Path) -> ProcessConfig:
    try:
        return read_scheduler(_read_json(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _card(path: Path, unet: UNetConfig, process: ProcessConfig) -> ModelCard:
    if not path.exists():
        return ModelCard()
    try:
        return read_card(_read_json(path), unet.num_class_embeds, process.num_timesteps)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_weights(path: Path, config: UNetConfig) -> None:
    """Compare the file's header with the network that the config describes; read no tensor."""
    if not path.exists():
        pickles = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLES)
        hint = f"; {pickles[0]} is a pickle, which is never loaded" if pickles else ""
        raise CheckpointError(f"{path}: no such file{hint}")
    _check_header(path)
    with torch.device("meta"), WithoutInit():  # shapes alone: no memory, no initialisation
        expected = {name: tuple(p.shape) for name, p in UNet(config).state_dict().items()}
    with _open_weights(path) as file:
        names = {_new_name(name): name for name in file.keys()}
        for name, shape in expected.items():
            if name not in names:
                raise CheckpointError(f"{path}: tensor {name} is missing")
            found = tuple(file.get_slice(names[name]).get_shape())
            if found != shape:
                raise CheckpointError(f"{path}: tensor {name} has shape {found}, not {shape}")
    extra = sorted(names.keys() - expected.keys())
    if extra:
        raise CheckpointError(f"{path}: tensor {extra[0]} has no place in the network")


def _check_header(path: Path) -> None:
    """Raise CheckpointError for what it would take long to find no safetensors file: a pipe, a
    device, or a header that is larger than any network's."""
    if not path.is_file():
        raise CheckpointError(f"{path}: not a regular file")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: not a safetensors file: its header would have {size} bytes, more than "
            f"{MAX_HEADER_BYTES}"
        )


class WithoutInit(TorchFunctionMode):
    """A block in which layers are made without drawing their weights, because these will be loaded.

    On the meta device that draw would import torch's compiler, which takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _read_weights(path: Path) -> dict[str, Tensor]:
    with _open_weights(path) as file:
        tensors = {_new_name(name): file.get_tensor(name) for name in file.keys()}
    return {name: tensor.float() for name, tensor in tensors.items()}


@contextmanager
def _open_weights(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from error
    except MemoryError as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path}: no memory is left for its {size} bytes") from error


def _new_name(name: str) -> str:
    """Translate the older names of diffusers' attention layers: query, key, value, proj_attn."""
    return OLD_ATTENTION_NAME.sub(lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", name)


def save_checkpoint(folder: Path, model: UNet, process: ProcessConfig, card: ModelCard) -> None:
    """Write a checkpoint to `folder`, whole or not at all; one that is there is replaced."""
    with atomic_folder(folder) as partial:
        index = {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }
        _write_json(partial / "model_index.json", index)
        unet = {"_class_name": "UNet2DModel", **dataclasses.asdict(model.config)}
        _write_json(partial / "unet" / "config.json", unet)
        _write_json(partial / "scheduler" / "scheduler_config.json", scheduler_json(process))
        write_card(partial, card)
        state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
        save_file(state, partial / "unet" / WEIGHTS, metadata={"format": "pt"})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")
