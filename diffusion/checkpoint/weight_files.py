"""Which files hold a network's weights: one, one of a variant, or several with an index.

diffusion_pytorch_model.safetensors                   the usual one
diffusion_pytorch_model.fp16.safetensors              a variant, where there is no usual one
diffusion_pytorch_model.safetensors.index.json        which tensor is in which of several files
diffusion_pytorch_model.safetensors.index.fp16.json   the same of a variant
"""

import hashlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from diffusion.checkpoint.configs import read_json
from diffusion.checkpoint.errors import CheckpointError
from diffusion.sources.hub_files import PICKLES, STEM, VARIANTS

WEIGHTS = f"{STEM}.safetensors"
VARIANT = re.compile(rf"{STEM}\.(\w+)\.safetensors")
INDEX = re.compile(rf"{STEM}\.(?:(\w+)\.)?safetensors\.index(?:\.(\w+))?\.json")
MAX_SHARDS = 1000


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files of a network's weights, in the order of their names."""

    paths: tuple[Path, ...]
    variant: str | None = None  # fp16 and the like
    index: Path | None = None  # of several files
    file_of: dict[str, str] | None = None  # by the index: the file's name of each tensor
    total_size: int | None = None  # by the index: bytes of all tensors

    def sha256(self) -> str:
        """The SHA-256 of the file; of several that of their SHA-256s in hex, a line each:
        `sha256sum FILES | cut -c-64 | sha256sum`."""
        digests = []
        for path in self.paths:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def find_weights(folder: Path) -> WeightFiles:
    """Choose the weights in a network's folder: those without a variant, if there are any.

    Raises CheckpointError where there are none, or where their index is wrong; the files themselves
    have not been looked at.
    """
    if (folder / WEIGHTS).exists():
        return WeightFiles((folder / WEIGHTS,))
    names = sorted(path.name for path in folder.iterdir())
    index = _best(names, INDEX)
    single = _best(names, VARIANT)
    # Where both are there, the first in order of variants; no variant comes first of all
    if index is not None and (single is None or _rank(index[1]) <= _rank(single[1])):
        return _by_index(folder / index[0], index[1])
    if single is not None:
        return WeightFiles((folder / single[0],), single[1])
    raise _missing(folder, names)


def _best(names: Iterable[str], pattern: re.Pattern[str]) -> tuple[str, str | None] | None:
    """The first of the names that match, in order of variants, and its variant."""
    found = [(name, pattern.fullmatch(name)) for name in names]
    matches = [(name, next(filter(None, match.groups()), None)) for name, match in found if match]
    return min(matches, key=lambda match: _rank(match[1]), default=None)


def _rank(variant: str | None) -> tuple[int, str]:
    """The place of a variant, or of none: as in VARIANTS, then others by name."""
    name = f".{variant}" if variant else ""
    return VARIANTS.index(name) if name in VARIANTS else len(VARIANTS), name


def _by_index(path: Path, variant: str | None) -> WeightFiles:
    """The files that an index names. Raises CheckpointError for any that is not beside it."""
    values = read_json(path)
    file_of = values.get("weight_map")
    if not isinstance(file_of, dict) or not file_of:
        raise CheckpointError(f"{path}: weight_map: missing; it must give each tensor its file")
    for tensor, name in file_of.items():
        if not isinstance(name, str) or not _is_plain(name):
            shown = str(name)[:100]
            raise CheckpointError(
                f"{path}: weight_map: {tensor}: {shown!r} is not allowed; it must be the name of a "
                "safetensors file beside the index"
            )
    names = sorted(set(file_of.values()))
    if len(names) > MAX_SHARDS:
        raise CheckpointError(f"{path}: weight_map: {len(names)} files, more than {MAX_SHARDS}")
    for name in names:
        if not (path.parent / name).exists():
            raise CheckpointError(
                f"{path.parent / name}: no such file, though {path.name} names it"
            )
    paths = tuple(path.parent / name for name in names)
    return WeightFiles(paths, variant, path, file_of, _total_size(path, values))


def _is_plain(name: str) -> bool:
    """Is this the name of a safetensors file, and no path to one elsewhere?"""
    if not name.endswith(".safetensors") or "\0" in name:
        return False
    return Path(name).name == name and PureWindowsPath(name).name == name


def _total_size(path: Path, values: dict[str, Any]) -> int | None:
    metadata = values.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: metadata: {str(metadata)[:100]!r} is not an object")
    size = metadata.get("total_size")
    if size is not None and (type(size) not in (int, float) or size < 0):
        raise CheckpointError(f"{path}: metadata: total_size: {str(size)[:100]!r} is no size")
    return None if size is None else int(size)


def _missing(folder: Path, names: list[str]) -> CheckpointError:
    """The refusal of a folder without weights, by what is there instead."""
    reason = f"{folder / WEIGHTS}: no such file"
    pickles = [name for name in names if Path(name).suffix in PICKLES]
    if f"{STEM}.bin" in pickles:
        place = str(folder.resolve())
        code = (
            "from diffusers import UNet2DModel as U; "
            f"U.from_pretrained({place!r}, use_safetensors=False).save_pretrained({place!r})"
        )
        return CheckpointError(
            f"{reason}; {STEM}.bin is a pickle, which is never loaded: it can run code",
            "if you trust who made it, convert it where diffusers is installed: "
            f"python -c {shlex.quote(code)}",
        )
    if pickles:
        return CheckpointError(f"{reason}; {pickles[0]} is a pickle, which is never loaded")
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return CheckpointError(reason, f"if {others[0]} holds the network, rename it to {WEIGHTS}")
    return CheckpointError(reason)
