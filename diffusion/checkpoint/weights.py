"""Weights in safetensors files: checked by their headers, and read when the network is loaded."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffusion.checkpoint.errors import CheckpointError
from diffusion.networks.config import NetworkConfig
from diffusion.networks.registry import make_network

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_NAME = re.compile(rf"(attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.")
MAX_HEADER_BYTES = 4 << 20
"""Of a safetensors file: about 100 bytes a tensor."""


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


def check_weights(path: Path, config: NetworkConfig) -> None:
    """Compare the file's header with the network that the config describes; read no tensor."""
    if not path.exists():
        pickles = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLES)
        hint = f"; {pickles[0]} is a pickle, which is never loaded" if pickles else ""
        raise CheckpointError(f"{path}: no such file{hint}")
    _check_header(path)
    with torch.device("meta"), WithoutInit():  # shapes alone: no memory, no initialisation
        expected = {name: tuple(p.shape) for name, p in make_network(config).state_dict().items()}
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


def read_weights(path: Path) -> dict[str, Tensor]:
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
