"""Folders of checkpoints that tests change, and what opening them gives."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.checkpoint import WEIGHTS, CheckpointError, open_checkpoint

CONFIG, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
STEM = "diffusion_pytorch_model"


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    return caught.value


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those of the network that a folder gives, in float32."""
    return open_checkpoint(folder).load().state_dict()


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def rename_weights(folder: Path, name: str) -> Path:
    return (folder / "unet" / WEIGHTS).rename(folder / "unet" / name)


def shard(folder: Path, variant: str = "") -> tuple[Path, Path]:
    """Write the weights as two files with an index, as `save_pretrained(max_shard_size=…)` does:
    the folder of both, and the index."""
    unet = folder / "unet"
    state = load_file(unet / WEIGHTS)
    (unet / WEIGHTS).unlink()
    names = sorted(state)
    stem = f"{STEM}.{variant}" if variant else STEM
    files = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    for file, half in zip(files, halves, strict=True):
        save_file({name: state[name] for name in half}, unet / file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = unet / f"{STEM}.safetensors.index{f'.{variant}' if variant else ''}.json"
    pairs = zip(files, halves, strict=True)
    weight_map = {name: file for file, half in pairs for name in half}
    index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}))
    return unet, index
