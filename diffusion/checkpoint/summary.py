"""What a checkpoint is, and what can be done with it, as facts for JSON; no tensor is read."""

import shlex
from pathlib import Path
from typing import Any, get_args

from diffusion.checkpoint.classes import class_name
from diffusion.checkpoint.configs import read_json
from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.layout import CONFIG, INDEX, SCHEDULER
from diffusion.checkpoint.opening import Checkpoint
from diffusion.networks.registry import kind_of, without_diffusers
from diffusion.pixels import PICTURE_CHANNELS
from diffusion.scheduler_json import SAMPLER_FIELDS
from diffusion.schedules import NOISE_LIMIT, has_zero_snr, make_beta, noise_left
from diffusion.spacing import FROM_ZERO_SNR, SamplerName

PLACES = {
    "pipeline": (INDEX,),
    "network": (f"unet/{CONFIG}", CONFIG, f"unet_ema/{CONFIG}"),
    "scheduler": (f"scheduler/{SCHEDULER}", SCHEDULER),
}
"""Where a folder's class names are."""


def summary(source: str, checkpoint: Checkpoint, data: str = "DATA") -> dict[str, Any]:
    """Gather what is known of a checkpoint that was named as `source` and can be used; `data` is
    what its bound can be measured on, as `ddpm evaluate --data` takes it."""
    return {
        "source": source,
        "folder": str(checkpoint.folder),
        "usable": True,
        "name": checkpoint.name,
        "classes": class_names(checkpoint.folder),
        "network": _network(checkpoint),
        "process": _process(checkpoint),
        "labels": {
            "names": list(checkpoint.classes),
            "null_label": checkpoint.card.null_label,
        },
        "weights": _weights(checkpoint),
        "origin": {
            "data": checkpoint.card.data,
            "license": checkpoint.card.license,
            "command": checkpoint.card.command,
            "source": checkpoint.origin,
        },
        "notes": _notes(checkpoint),
        "uses": _uses(source, checkpoint, data),
    }


def refusal(source: str, folder: Path, error: CheckpointError) -> dict[str, Any]:
    """Gather what is known of a checkpoint that is refused with `error`."""
    return {
        "source": source,
        "folder": str(folder),
        "usable": False,
        "classes": class_names(folder),
        "reason": error.reason,
        "remedy": error.remedy,
    }


def class_names(folder: Path) -> dict[str, str | None]:
    """The classes of diffusers that a folder names for pipeline, network and scheduler; None where
    it names none, or cannot be read."""
    return {part: _first_name([folder / place for place in PLACES[part]]) for part in PLACES}


def _first_name(paths: list[Path]) -> str | None:
    for path in paths:
        try:
            return class_name(path, read_json(path, unread=SAMPLER_FIELDS))
        except (CheckpointError, OSError):
            continue
    return None


def _network(checkpoint: Checkpoint) -> dict[str, Any]:
    unet = checkpoint.unet
    return {
        "kind": kind_of(unet).name,
        "image_shape": list(unet.image_shape),
        "parameters": checkpoint.header.parameters,
        "in_diffusers": kind_of(unet).is_diffusers,
    }


def _process(checkpoint: Checkpoint) -> dict[str, Any]:
    process = checkpoint.process
    beta = make_beta(process)
    return {
        "prediction": process.prediction,
        "num_timesteps": process.num_timesteps,
        "schedule": process.schedule,
        "beta_first": beta[0].item(),
        "beta_last": beta[-1].item(),
        "alpha_bar_T": (1 - beta).prod().item(),
        "variance": process.variance,
        "clip": process.clip,
    }


def _weights(checkpoint: Checkpoint) -> dict[str, Any]:
    files = checkpoint.weights
    return {
        "files": [path.name for path in files.paths],
        "variant": files.variant,
        "bytes": sum(path.stat().st_size for path in files.paths),
        "types": list(checkpoint.header.dtypes),
        "sha256": checkpoint.sha256,
    }


def _notes(checkpoint: Checkpoint) -> list[str]:
    """What a reader should know before use."""
    last = float((1 - make_beta(checkpoint.process)).prod())
    only_here = without_diffusers(checkpoint.unet)
    noise = noise_left(last) if last > NOISE_LIMIT else None
    return [*checkpoint.notes, *(note for note in (only_here, noise) if note)]


def samplers_of(checkpoint: Checkpoint) -> list[str]:
    """The samplers that can begin where the checkpoint's chain does."""
    every: tuple[SamplerName, ...] = get_args(SamplerName)
    return list(FROM_ZERO_SNR if has_zero_snr(checkpoint.process) else every)


def _uses(source: str, checkpoint: Checkpoint, data: str) -> dict[str, dict[str, Any]]:
    """Whether a checkpoint can be served, sampled, bounded and exported: by which command, or why
    not."""
    name, channels = shlex.quote(source), checkpoint.unet.in_channels
    is_picture = channels in PICTURE_CHANNELS
    why = None if is_picture else f"its images have {channels} channels; pictures have 1 or 3"
    needs_label = bool(checkpoint.classes) and checkpoint.card.null_label is None
    label = " --label 0" if needs_label else ""
    starts = checkpoint.unet.min_timestep  # half of T steps end there or above
    steps = f" --steps {max(1, checkpoint.process.num_timesteps // 2)}" if starts else ""
    why_no_bound = "its network cannot be told t = 1" if starts else why
    return {
        "served": _use(f"ddpm serve --checkpoint {name}", why),
        "sampled": {
            **_use(
                f"ddpm sample {name}{label}{steps} --out images{'.png' if is_picture else '.npz'}"
            ),
            "samplers": samplers_of(checkpoint),
        },
        "bounded": _use(
            f"ddpm evaluate {name} --data {shlex.quote(data)} --out report", why_no_bound
        ),
        "exported": _use(f"ddpm export {name} FOLDER"),
    }


def _use(command: str, why_not: str | None = None) -> dict[str, Any]:
    possible = why_not is None
    return {"possible": possible, "command": command if possible else None, "why": why_not}
