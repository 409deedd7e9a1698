"""The error with which a checkpoint is refused."""

from diffusion.sources.errors import CheckpointError

__all__ = ["CheckpointError"]
