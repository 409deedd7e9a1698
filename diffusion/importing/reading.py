"""Files of tensors as other projects write them. The one place that reads pickles.

A pickle can run code. These are read by PyTorch's restricted unpickler alone, which makes tensors,
numbers, texts and containers of them, and by the import command alone.
"""

import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.importing.errors import ForeignError
from diffusion.mistaken import START_BYTES, mistaken

ZIP = b"PK\x03\x04"
MAX_RECORDS = 100_000
"""Of a zip archive; a network has a few hundred tensors, each in a record of its own."""
MAX_PICKLE_BYTES = 64 << 20
"""Of a zip archive's pickle, which holds names and shapes alone: about 200 bytes a tensor."""
MAX_DEPTH = 8
"""How deep tensors may lie in dictionaries and lists."""
MAX_ITEMS = 1_000_000
"""Of all dictionaries and lists together."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of torch.save, or a .safetensors: its tensors of numbers, by name, on the CPU.

    Where tensors lie in dictionaries or lists, a name has all keys: `ema.conv_in.weight`. What is
    no tensor is left out. Tensors are mapped from the file, where its format allows it. Raises
    ForeignError where the file is of another kind, is damaged, or holds more than data.
    """
    if not path.exists():
        raise ForeignError(f"{path}: no such file")
    if not path.is_file():
        raise ForeignError(f"{path}: not a regular file")
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    what = mistaken(start)
    if what is not None:
        raise ForeignError(f"{path}: {what}")
    if path.suffix == ".safetensors" or start[8:9] == b"{":  # whatever it is called
        return _safetensors(path)
    tensors = dict(_flat(path, _unpickle(path, is_zip=start.startswith(ZIP))))
    if not tensors:
        raise ForeignError(f"{path}: no tensors are in it; it must be a state dict of torch.save")
    _check_sizes(path, tensors)
    return tensors


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ForeignError(f"{path}: not a whole safetensors file: {error}") from error


def _unpickle(path: Path, *, is_zip: bool) -> Any:
    if is_zip:
        _check_archive(path)
    elif tarfile.is_tarfile(path):  # whose reader of old is not restricted in every PyTorch
        raise ForeignError(
            f"{path}: the tar format of PyTorch before 0.1.10, which is not read; load it there, "
            "and save it with a newer PyTorch"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old storages, to who wrote the file
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    # Damaged pickles end in nearly any error of Python's
    except Exception as error:
        raise ForeignError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say in a line why PyTorch did not read a file."""
    text = str(error)
    if "Unsupported global" in text or "Unsupported class" in text or "Blocked" in text:
        said = next((line for line in text.splitlines() if "GLOBAL " in line), "objects of classes")
        what = said.partition("GLOBAL ")[2].split(" ")[0] or said
        return (
            f"it holds more than tensors: {what}. That could run code, so it is not read. Save the "
            "state dict alone, where you trust the file: torch.save(model.state_dict(), FILE)"
        )
    # Without PyTorch's advice to read it all the same, and run what is in it
    text = text.rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
    return f"not a whole file of torch.save: {text.splitlines()[0][:200]}"


def _check_archive(path: Path) -> None:
    """Raise ForeignError for a zip archive that unpacks to more than its size, or is no state
    dict's."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ForeignError(f"{path}: not a whole zip archive of torch.save: {error}") from error
    if len(records) > MAX_RECORDS:
        raise ForeignError(f"{path}: {len(records)} records, more than {MAX_RECORDS}")
    for record in records:
        name = record.filename.rpartition("/")[2]
        if record.compress_type != zipfile.ZIP_STORED:
            raise ForeignError(f"{path}: {record.filename} is compressed, as torch.save never does")
        if name == "constants.pkl":
            raise ForeignError(
                f"{path}: a TorchScript program, not a state dict; save its state_dict() instead"
            )
        if name == "data.pkl" and record.file_size > MAX_PICKLE_BYTES:
            raise ForeignError(
                f"{path}: {record.filename} has {record.file_size} bytes, more than "
                f"{MAX_PICKLE_BYTES}"
            )
    if sum(record.file_size for record in records) > path.stat().st_size:
        raise ForeignError(f"{path}: its records overlap; it would unpack to more than its size")


def _flat(path: Path, found: Any) -> Iterator[tuple[str, Tensor]]:
    """Walk through dictionaries and lists: each tensor of numbers with its keys, joined by dots."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), found)]
    count = 0
    while waiting:
        keys, value = waiting.pop()
        count += 1
        if count > MAX_ITEMS or len(keys) > MAX_DEPTH:
            raise ForeignError(
                f"{path}: more than {MAX_ITEMS} values, or more than {MAX_DEPTH} levels of them"
            )
        if isinstance(value, Tensor):
            if value.layout == torch.strided and not value.is_complex() and not value.is_quantized:
                yield ".".join(keys), value.detach()
        elif isinstance(value, dict):
            waiting += [((*keys, str(key)), item) for key, item in reversed(value.items())]
        elif isinstance(value, list | tuple):
            waiting += [((*keys, str(i)), value[i]) for i in reversed(range(len(value)))]


def _check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise ForeignError where tensors would take more memory than the file has: a stride of 0
    makes any number of one. What a file has under two names, such as the weights and what an
    average is made of, counts once."""
    most = path.stat().st_size
    total = 0
    seen: set[tuple[object, ...]] = set()
    for name, tensor in tensors.items():
        place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if place in seen:
            continue
        seen.add(place)
        total += tensor.numel() * tensor.element_size()
        if total > most:
            raise ForeignError(
                f"{path}: up to tensor {name} its tensors would take more than the file's {most} "
                "bytes"
            )
