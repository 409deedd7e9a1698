"""What is known of a model that an engine serves."""

from dataclasses import dataclass
from typing import Any

from diffusion.config import Precision, Variance


@dataclass(frozen=True)
class ModelInfo:
    """What an engine says of the model that it serves: the checkpoint, and how it runs."""

    name: str
    image_shape: tuple[int, int, int]  # C, H, W
    num_timesteps: int
    min_timestep: int  # the least t, by the code's count, that the network can be told
    schedule: str
    alpha_bar_T: float
    alpha_bar: tuple[float, ...]  # by the paper's t, 0..T
    variance: Variance
    clip: float | None
    classes: tuple[str, ...]  # in the order of their labels; empty: unconditional
    null_label: int | None
    sha256: str  # of the weights file
    fingerprint: str  # SHA-256 of what else of the checkpoint decides the bytes
    source: str | None  # where it came from: a built-in name, a repository on the Hub
    revision: str | None  # the repository's commit
    data: str | None
    command: str | None
    trained: dict[str, Any]
    quality: dict[str, Any]
    recommended: dict[str, Any]
    tuned: dict[str, Any]  # as `diffusion.tuned` says
    parameters: int
    runtime: str
    precision: Precision
    precision_reason: str  # in one sentence
    device: str
    batch_sizes: tuple[int, ...]
    step_seconds: dict[str, float]  # by batch size, measured at warm-up
    batch_invariant: bool
    seconds_per_row: float
    machine: str = ""  # a digest of what else of the machine decides the bytes
