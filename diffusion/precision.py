"""Which precision a network runs in, and why: what was asked for, the device, and the card."""

from typing import Any, NamedTuple

import torch

from diffusion.config import Precision, PrecisionName
from diffusion.devices import has_bfloat16
from diffusion.model_card import ModelCard


class Chosen(NamedTuple):
    """A precision, and the reason for it in one sentence."""

    precision: Precision
    reason: str

    def ran(self, precision: Precision) -> "Chosen":
        """Return what came of it, where the network was found to be too far from itself in float32,
        or OpenVINO to have no bfloat16 on this processor."""
        if precision == self.precision:
            return self
        return Chosen(
            precision,
            f"OpenVINO has no {self.precision} here, or this network in it is too far off",
        )


def choose_precision(asked: PrecisionName, card: ModelCard, device: torch.device) -> Chosen:
    """Return what was asked for. `auto` is bfloat16 on a CPU that multiplies it itself, where the
    card says that the checkpoint was measured to lose nothing in it; else float32."""
    if asked != "auto":
        return Chosen(asked, f"{asked} was asked for")
    if device.type != "cpu":
        return Chosen("float32", f"auto is float32 on {device}")
    if not has_bfloat16(device):
        return Chosen("float32", "this processor has no instructions for bfloat16")
    measured: dict[str, Any] | None = card.precisions.get("bfloat16")
    if measured is None:
        reason = "the card does not say what bfloat16 loses; ddpm evaluate --precisions measures it"
        return Chosen("float32", reason)
    if not measured.get("lossless", False):
        return Chosen("float32", "by its card this checkpoint may lose quality in bfloat16")
    reason = (
        "the processor multiplies bfloat16 itself, and by its card the checkpoint loses nothing"
    )
    return Chosen("bfloat16", reason)
