"""`ddpm import`: a checkpoint of another project, written in the diffusers format."""

import argparse
import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tqdm import tqdm

from diffusion.checkpoint import save_checkpoint
from diffusion.commands.export import check_out
from diffusion.config import check_channels
from diffusion.fields import ConfigError
from diffusion.importing.errors import ForeignError
from diffusion.importing.projects import PROJECTS
from diffusion.importing.reading import read_tensors
from diffusion.model_card import ModelCard
from diffusion.networks.registry import without_diffusers
from diffusion.output import OutputError
from diffusion.process import Process

CHUNK_BYTES = 16 << 20
OF_EVERY_COMMAND = {
    "command", "version", "run", "project", "file", "out", "force", "name", "data",
}  # fmt: skip
"""Flags that say nothing of the network or the process."""


def run(args: argparse.Namespace) -> None:
    """Read the file that the flags name, and write the checkpoint.

    Raises OutputError, or ForeignError where the file is not one that can be imported; nothing is
    written then.
    """
    check_out(args.out, force=args.force)
    tensors = read_tensors(args.file)
    with _file_named(args.file):
        imported = PROJECTS[args.project].read(tensors, args)
        check_channels(imported.network, imported.process)
        Process.from_config(imported.process)  # whose betas are all between 0 and 1
    card = ModelCard(name=args.name or args.out.name, data=args.data, source=_source(args))
    try:
        save_checkpoint(args.out, imported.make(), imported.process, card)
    except (OSError, SafetensorError) as error:
        raise OutputError(args.out, f"the checkpoint cannot be written: {error}") from error
    note = without_diffusers(imported.network)
    if note:
        print(note)
    label = "" if imported.network.num_class_embeds is None else " --label 0"
    see = f"ddpm sample {shlex.quote(str(args.out))} --n 4{label} --sampler dpmpp"
    print(f"checkpoint written to {args.out}; see it with: {see}")


@contextmanager
def _file_named(file: Path) -> Iterator[None]:
    """A block whose errors get the file's name."""
    try:
        yield
    except (ForeignError, ConfigError) as error:
        raise ForeignError(f"{file}: {error}") from error


def _source(args: argparse.Namespace) -> dict[str, Any]:
    """Where the weights came from, for the card: the project, the file, its hash, the flags."""
    return {
        "project": PROJECTS[args.project].repository,
        "file": args.file.name,
        "sha256": _sha256(args.file),
        "flags": {
            name: value for name, value in vars(args).items() if name not in OF_EVERY_COMMAND
        },
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(total=size, desc="reading", unit="B", unit_scale=True, delay=1) as bar,
    ):
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
