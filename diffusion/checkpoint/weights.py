"""Weights in safetensors files: checked by their headers, and read when the network is loaded."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.weight_files import WeightFiles
from diffusion.config import WeightsType
from diffusion.mistaken import START_BYTES, mistaken
from diffusion.networks.config import NetworkConfig
from diffusion.networks.registry import make_network

OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_NAME = re.compile(rf"(attentions\.\d+)\.({'|'.join(OLD_ATTENTION)})\.")
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The types that weights may have, and the bytes of a number."""
HALF_TYPES: dict[tuple[str, ...], WeightsType] = {("F16",): "float16", ("BF16",): "bfloat16"}
"""Those of two bytes, by what a header says where it has no others."""
NOT_FINITE = "has numbers that are not finite in float32, so no image could be made with it"
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


def shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each tensor of a network, without memory for any."""
    with torch.device("meta"), WithoutInit():
        return {name: tuple(p.shape) for name, p in make_network(config).state_dict().items()}


class Header(NamedTuple):
    """What the headers of a network's weights say."""

    parameters: int  # numbers in all tensors
    dtypes: tuple[str, ...]  # as safetensors names them, F32 and so on; sorted

    @property
    def weights_type(self) -> WeightsType:
        """The numbers that hold all weights as they are: float32 for mixed ones, and for F64."""
        return HALF_TYPES.get(self.dtypes, "float32")


def check_weights(files: WeightFiles, config: NetworkConfig) -> Header:
    """Compare the files' headers with the network that the config describes; read no tensor.

    Raises CheckpointError, which names the file and the tensor.
    """
    found, expected = _tensors(files), shapes(config)
    place = files.index or files.paths[0]
    for name, shape in expected.items():
        if name not in found:
            raise CheckpointError(f"{place}: tensor {name} is missing")
        _check_tensor(name, found[name], shape)
    extra = sorted(found.keys() - expected.keys())
    if extra:
        file = found[extra[0]].file
        raise CheckpointError(f"{file}: tensor {extra[0]} has no place in the network")
    size = sum(math.prod(tensor.shape) * BYTES[tensor.dtype] for tensor in found.values())
    if files.total_size not in (None, size):
        raise CheckpointError(
            f"{place}: metadata: total_size: {files.total_size} bytes, but the tensors have {size}"
        )
    parameters = sum(math.prod(shape) for shape in expected.values())
    return Header(parameters, tuple(sorted({tensor.dtype for tensor in found.values()})))


class _Tensor(NamedTuple):
    """What a header says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def _check_tensor(name: str, tensor: _Tensor, shape: tuple[int, ...]) -> None:
    """Raise CheckpointError unless a tensor has the shape, and numbers of a type that is read."""
    if tensor.shape != shape:
        raise CheckpointError(f"{tensor.file}: tensor {name} has shape {tensor.shape}, not {shape}")
    if tensor.dtype not in BYTES:
        raise CheckpointError(
            f"{tensor.file}: tensor {name} is of type {tensor.dtype}, not of one of "
            f"{', '.join(BYTES)}"
        )


def _tensors(files: WeightFiles) -> dict[str, _Tensor]:
    """The tensors of all files by their new names. Raises CheckpointError where a file does not
    hold what the index says."""
    found: dict[str, _Tensor] = {}
    for path in files.paths:
        _check_header(path)
        with _open_weights(path) as file:
            names = set(file.keys())
            for name in sorted(names):
                part, new = file.get_slice(name), _new_name(name)
                if new in found:
                    raise CheckpointError(
                        f"{path}: tensor {name} is there twice, also under its other name or in "
                        f"{found[new].file.name}, so which is meant is open"
                    )
                found[new] = _Tensor(path, tuple(part.get_shape()), part.get_dtype())
        if files.file_of is not None:
            listed = {name for name, place in files.file_of.items() if place == path.name}
            _check_listed(path, listed, names)
    return found


def _check_listed(path: Path, listed: set[str], names: set[str]) -> None:
    """Raise CheckpointError unless a file holds the tensors that its index lists, and no others."""
    if listed - names:
        raise CheckpointError(
            f"{path}: tensor {min(listed - names)} is missing, which the index lists"
        )
    if names - listed:
        raise CheckpointError(f"{path}: tensor {min(names - listed)} is not in the index")


def _check_header(path: Path) -> None:
    """Raise CheckpointError for what a download left in the file's place, and for what it would
    take long to find no safetensors file: a pipe, a device, or a header that is larger than any
    network's."""
    if not path.is_file():
        raise CheckpointError(f"{path}: not a regular file")
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    what = mistaken(start)
    if what is not None:
        raise CheckpointError(f"{path}: {what}")
    size = int.from_bytes(start[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: not a safetensors file: its header would have {size} bytes, more than "
            f"{MAX_HEADER_BYTES}"
        )


def read_weights(files: WeightFiles) -> dict[str, Tensor]:
    """Read all tensors, as float32. Raises CheckpointError on a damaged file, and where a number is
    not finite, as after a training that diverged: no image could be made."""
    tensors = {}
    for path in files.paths:
        with _open_weights(path) as file:
            for name in file.keys():
                tensor = file.get_tensor(name).float()
                if not bool(tensor.isfinite().all()):
                    raise CheckpointError(f"{path}: tensor {name} {NOT_FINITE}")
                tensors[_new_name(name)] = tensor
    return tensors


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
