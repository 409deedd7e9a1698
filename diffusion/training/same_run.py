"""Whether a folder's run is the one asked for: its configuration, its images, its first weights."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from diffusion.config import Config
from diffusion.data.images import Images
from diffusion.fields import to_dict
from diffusion.training.errors import TrainingError

log = logging.getLogger(__name__)

LOOKED_AT = 100
"""Images that a fingerprint is taken of."""


def check_same_run(run: Path, facts: dict[str, Any], config: Config, data: Images) -> None:
    """Raise TrainingError where a run's state, of these `facts`, had another configuration or other
    classes.

    The number of steps may differ. Other images, or another number of them, are reported.
    """
    now = json.loads(json.dumps(to_dict(config)))
    del now["training"]["num_steps"]
    saved = facts["config"]
    if isinstance(saved.get("data"), str):  # as older versions wrote it
        saved = {**saved, "data": {"path": saved["data"]}}
    # Older versions kept no snapshots, and their states lack what these are of
    saved = {**saved, "training": {"snapshot_every": 0, **saved["training"]}}
    _check_same(saved, now, run)
    classes, images = facts.get("classes"), facts.get("images", len(data))
    if classes is not None and tuple(classes) != data.classes:
        raise TrainingError(
            f"data: {run} holds a run with the classes {', '.join(map(str, classes))}, not "
            f"{', '.join(data.classes)}; give another folder, or the images that it began with"
        )
    if images != len(data):
        log.warning("data: %d images; up to here the run had %d", len(data), images)
    elif facts.get("fingerprint") not in (None, fingerprint(data)):
        log.warning("data: as many images as up to here, but not the same ones")


def _check_same(saved: dict[str, Any], now: dict[str, Any], run: Path, prefix: str = "") -> None:
    for key, value in now.items():
        if isinstance(value, dict) and isinstance(saved.get(key, {}), dict):
            _check_same(saved.get(key, {}), value, run, f"{prefix}{key}.")
        elif key in saved and saved[key] != value:  # a run older than the field lacks it
            raise TrainingError(
                f"{run} holds a run with {prefix}{key} = {saved[key]!r}, not {value!r}; "
                "give another folder, or the configuration that the run was started with"
            )


def check_same_start(run: Path, facts: dict[str, Any], start: dict[str, Any] | None) -> None:
    """Raise TrainingError where a run is to `start` from other weights than it did.

    A start is known by its `sha256`; None asks for none. States of older versions do not say.
    """
    if start is None or "start" not in facts:
        return
    began = (facts["start"] or {}).get("sha256")
    if began != start.get("sha256"):
        told = f"weights of SHA-256 {began}" if began else "random weights"
        raise TrainingError(
            f"start: {run} holds a run that began with {told}, not with those of "
            f"{start.get('sha256')}; leave --start out to go on with it, or give another folder"
        )


def fingerprint(data: Images) -> str:
    """Return a SHA-256 of the number and shape of images, and of up to LOOKED_AT of them, evenly
    spaced, with their labels."""
    count = len(data)
    index = torch.linspace(0, count - 1, min(count, LOOKED_AT), dtype=torch.float64).long()
    digest = hashlib.sha256(repr(tuple(data.pixels.shape)).encode())
    digest.update(data.pixels[index].contiguous().numpy().tobytes())
    if data.labels is not None:
        digest.update(data.labels[index].contiguous().numpy().tobytes())
    return digest.hexdigest()
