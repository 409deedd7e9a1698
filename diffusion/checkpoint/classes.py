"""Judging a checkpoint by its class names: what pipeline, network and scheduler it was saved with.

Weights fit a U-Net whatever it was trained for, so a network of another process would be loaded
without a word, and give wrong pictures. The names tell them apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffusion.checkpoint.errors import CheckpointError
from diffusion.networks.registry import KINDS


class Reason(NamedTuple):
    """Why something is not served: what it is, and what would make it servable."""

    what: str
    remedy: str


OTHER_PROCESS = (
    "a network that was trained for that cannot be sampled from as a DDPM: serve it with "
    "diffusers, or train one here"
)
LATENTS = Reason("the network makes latents, which a decoder turns into images", OTHER_PROCESS)
TEXT = Reason("the network is conditioned on text or images", OTHER_PROCESS)
CONSISTENCY = Reason("a consistency model: it predicts x_0 from any x_t by itself", OTHER_PROCESS)
EXPLODING = Reason(
    "a variance-exploding process: noise is added to an image that does not fade", OTHER_PROCESS
)
FLOW = Reason("flow matching: the network predicts a velocity, not noise", OTHER_PROCESS)
EDM = Reason("EDM's process (Karras et al. 2022): noise levels sigma, no betas", OTHER_PROCESS)
DISCRETE = Reason("a process over discrete tokens, not over pixels", OTHER_PROCESS)
DISTILLED = Reason("for networks that were distilled to few steps of its own", OTHER_PROCESS)
SHIFTED = Reason("its SNR is shifted beyond what the betas say", OTHER_PROCESS)
CONTINUOUS = Reason("a process in continuous time, without betas", OTHER_PROCESS)
VP_SDE = Reason(
    "the variance-preserving SDE in continuous time",
    "if the network is told the steps 0..T-1, its chain is that of a DDPMScheduler with the betas "
    "beta_min / T to beta_max / T",
)

PIPELINES = {
    "LDMPipeline": LATENTS,
    "LDMSuperResolutionPipeline": LATENTS,
    "DiTPipeline": LATENTS,
    "ConsistencyModelPipeline": CONSISTENCY,
    "ScoreSdeVePipeline": EXPLODING,
    "KarrasVePipeline": EXPLODING,
}
"""Pipelines that are not served; others are judged by their parts."""
FAMILIES = {"StableDiffusion": TEXT, "LatentConsistency": LATENTS, "Flux": FLOW}
"""And those whose names begin so."""
PARTS = {
    "vae": LATENTS,
    "vqvae": LATENTS,
    "movq": LATENTS,
    "text_encoder": TEXT,
    "tokenizer": TEXT,
    "image_encoder": TEXT,
    "bert": TEXT,
    "controlnet": TEXT,
    "prior": TEXT,
}
"""Parts of a pipeline, and folders beside the network, with which it is not served."""

NETWORKS = {
    "UNet2DConditionModel": TEXT,
    "AutoencoderKL": Reason("an autoencoder, without a process", OTHER_PROCESS),
    "VQModel": Reason("an autoencoder, without a process", OTHER_PROCESS),
}
"""Networks that are not served."""
OTHER_NETWORK = Reason(
    "not a network that is known", f"networks that are: {', '.join(sorted(KINDS))}"
)

SERVED_SCHEDULERS = {
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler",
    "DDIMInverseScheduler", "PNDMScheduler", "RePaintScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler",
    "UniPCMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
    "LMSDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
}  # fmt: skip
"""Schedulers over a chain of betas: ways to walk back through the process of a DDPM."""
SCHEDULERS = {
    "EDMEulerScheduler": EDM,
    "EDMDPMSolverMultistepScheduler": EDM,
    "CosineDPMSolverMultistepScheduler": EDM,
    "ScoreSdeVeScheduler": EXPLODING,
    "KarrasVeScheduler": EXPLODING,
    "ScoreSdeVpScheduler": VP_SDE,
    "CMStochasticIterativeScheduler": CONSISTENCY,
    "ConsistencyDecoderScheduler": CONSISTENCY,
    "SCMScheduler": CONSISTENCY,
    "LCMScheduler": DISTILLED,
    "TCDScheduler": DISTILLED,
    "IPNDMScheduler": CONTINUOUS,
    "DDPMWuerstchenScheduler": CONTINUOUS,
    "UnCLIPScheduler": Reason("for networks that decode an embedding of text", OTHER_PROCESS),
    "CogVideoXDDIMScheduler": SHIFTED,
    "CogVideoXDPMScheduler": SHIFTED,
    "VQDiffusionScheduler": DISCRETE,
    "AmusedScheduler": DISCRETE,
    "BlockRefinementScheduler": DISCRETE,
    "DiscreteDDIMScheduler": DISCRETE,
    "EntropyBoundScheduler": DISCRETE,
}
"""Schedulers of other processes."""
FLOW_NAMES = ("Flow", "Helios", "LTX", "MiniMax", "Piflow")
"""How the names of schedulers of flow matching begin."""
UNKNOWN_SCHEDULER = Reason(
    "not a scheduler that is known, so its process may be another than its betas say",
    'if it is a chain of these betas, write "_class_name": "DDPMScheduler"',
)


def class_name(path: Path, values: Mapping[str, Any]) -> str | None:
    """The class that a JSON file of diffusers names; None where it does not. Raises
    CheckpointError where that is no text."""
    name = values.get("_class_name")
    if name is not None and not isinstance(name, str):
        raise CheckpointError(f"{path}: _class_name: {str(name)[:100]!r} is not a text")
    return name


def parts_of(index: Mapping[str, Any]) -> dict[str, str]:
    """The class of each part that a model_index.json lists: `"unet": [library, class]`."""
    return {
        part: listed[1]
        for part, listed in index.items()
        if isinstance(listed, list) and len(listed) == 2 and isinstance(listed[1], str)
    }


def check_pipeline(path: Path, index: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a model_index.json is of a pipeline that is not served."""
    name = class_name(path, index) or ""
    family = next((why for start, why in FAMILIES.items() if name.startswith(start)), None)
    reason = PIPELINES.get(name, family)
    if reason is not None:
        raise CheckpointError(f"{path}: _class_name: {name}: {reason.what}", reason.remedy)
    for part, kind in parts_of(index).items():
        why = _reason_of_part(part)
        if why is not None:
            raise CheckpointError(f"{path}: {part}: {kind}: {why.what}", why.remedy)


def check_folders(root: Path) -> None:
    """Raise CheckpointError where a folder beside the network holds a part with which it is not
    served."""
    for part, reason in PARTS.items():
        if (root / part).is_dir():
            raise CheckpointError(f"{root / part}: {reason.what}", reason.remedy)


def check_network(path: Path, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError where the network of a config.json is none that is served."""
    name = class_name(path, values)
    if name is None or name in KINDS:
        return
    reason = NETWORKS.get(name, OTHER_NETWORK)
    raise CheckpointError(f"{path}: _class_name: {name}: {reason.what}", reason.remedy)


def check_scheduler(path: Path, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a scheduler_config.json is of another process than a DDPM's."""
    name = class_name(path, values)
    if name is None or name in SERVED_SCHEDULERS:
        return
    reason = SCHEDULERS.get(name, FLOW if name.startswith(FLOW_NAMES) else UNKNOWN_SCHEDULER)
    raise CheckpointError(f"{path}: _class_name: {name}: {reason.what}", reason.remedy)


def _reason_of_part(part: str) -> Reason | None:
    """Why a part of that name, or one of several (`text_encoder_2`), rules the network out."""
    return PARTS.get(part.rstrip("_0123456789"))
