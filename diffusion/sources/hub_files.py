"""Which files of a repository make a checkpoint: those that are fetched, and no others.

Names are compared with the few that diffusers gives these files, so that none that a repository
invents, such as `../x`, is ever used as a path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from diffusion.json_file import MAX_BYTES
from diffusion.sources.errors import CheckpointError

STEM = "diffusion_pytorch_model"
VARIANTS = ("", ".fp32", ".ema", ".fp16", ".bf16")
"""Of the weights, in the order in which they are taken."""
LATENT = ("vae/", "vqvae/", "movq/")
"""Folders beside the network of a model that makes no pictures itself."""
MAX_WEIGHTS_BYTES = 4 << 30
"""Of a model, unless a setting says otherwise."""
PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint in a repository."""

    configs: tuple[str, ...]
    weights: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """In the order in which they are fetched: where the last is there, all are."""
        return self.configs + self.weights


def choose(sizes: Mapping[str, int]) -> Files:
    """Choose the files that make a checkpoint among those of a repository, with their bytes.

    Raises CheckpointError, without the repository's name, where they make none.
    """
    for latent in LATENT:
        if any(name.startswith(latent) for name in sizes):
            raise CheckpointError(
                f"it has {latent}, so its network makes latents, which another decodes: only "
                "models of pixels can be sampled from"
            )
    is_nested = any(name.startswith("unet/") for name in sizes)
    unet, scheduler = ("unet/", "scheduler/") if is_nested else ("", "")
    if f"{unet}config.json" not in sizes:
        raise CheckpointError(
            "it has neither unet/config.json nor config.json, so it is no UNet2DModel of diffusers"
        )
    names = ("model_index.json", "model_card.json", f"{scheduler}scheduler_config.json")
    configs = [name for name in (*names, f"{unet}config.json") if name in sizes]
    weights = _weights(unet, sizes)
    configs += [name for name in weights if name.endswith(".json")]
    return Files(tuple(configs), tuple(name for name in weights if not name.endswith(".json")))


def check_sizes(files: Files, sizes: Mapping[str, int], max_bytes: int) -> None:
    """Raise CheckpointError for configurations of more than MAX_BYTES each, or weights of more than
    `max_bytes` together."""
    for name in files.configs:
        if sizes[name] > MAX_BYTES:
            raise CheckpointError(f"{name} has {sizes[name]} bytes; at most {MAX_BYTES} are read")
    total = sum(sizes[name] for name in files.weights)
    if total > max_bytes:
        raise CheckpointError(
            f"its weights have {total} bytes; at most {max_bytes} are fetched (a server's setting "
            "hub_max_bytes says how many)"
        )


def _weights(unet: str, sizes: Mapping[str, int]) -> list[str]:
    """The weights' files of the first variant there is, and their index where they are several."""
    for variant in VARIANTS:
        whole = f"{unet}{STEM}{variant}.safetensors"
        if whole in sizes:
            return [whole]
        shards = _shards(unet, variant, sizes)
        for index in (
            f"{unet}{STEM}.safetensors.index{variant}.json",
            f"{unet}{STEM}{variant}.safetensors.index.json",
        ):
            if shards and index in sizes:
                return [index, *shards]
    places = {"unet"} if unet else {"."}
    pickles = [
        name
        for name in sorted(sizes)
        if PurePosixPath(name).suffix in PICKLES and str(PurePosixPath(name).parent) in places
    ]
    if pickles:
        raise CheckpointError(
            f"its weights are a pickle, {pickles[0]}, which can run code and is never fetched",
            "where you trust it, save it as safetensors with diffusers, "
            "UNet2DModel.from_pretrained(…).save_pretrained(FOLDER), and give that folder",
        )
    raise CheckpointError(f"it has no {unet}{STEM}.safetensors")


def _shards(unet: str, variant: str, sizes: Mapping[str, int]) -> list[str]:
    """The parts of weights that were saved in several files, in order; empty: not all are there."""
    part = re.compile(rf"{re.escape(unet + STEM + variant)}-\d{{5}}-of-(\d{{5}})\.safetensors")
    counts = {found[1] for name in sizes if (found := part.fullmatch(name))}
    if len(counts) != 1:
        return []
    (count,) = counts
    if int(count) > len(sizes):
        return []
    names = [
        f"{unet}{STEM}{variant}-{number:05}-of-{count}.safetensors"
        for number in range(1, int(count) + 1)
    ]
    return names if all(name in sizes for name in names) else []
