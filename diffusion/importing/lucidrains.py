"""lucidrains/denoising-diffusion-pytorch: the files that its `Trainer` saves, or the state dict of
a `GaussianDiffusion` alone.

The file tells the betas, and nearly all of the network. Releases before 1.8.0 have other networks
under nearly the same names, and are refused.
"""

import argparse
from collections.abc import Mapping

import torch
from torch import Tensor

from diffusion.checkpoint import shapes
from diffusion.config import Prediction, ProcessConfig
from diffusion.importing.errors import ForeignError
from diffusion.importing.project import Imported
from diffusion.importing.renaming import Table, rename, size
from diffusion.networks.lucidrains_config import LucidrainsUnetConfig
from diffusion.process import Process
from diffusion.unet_config import MAX_LEVELS

PLACES = {"ema": ("ema.ema_model.", "ema_model."), "model": ("model.", "")}
"""Where the state dict of a GaussianDiffusion may be in a file, for each kind of weights."""
OBJECTIVES: dict[str, Prediction] = {"pred_noise": "eps", "pred_x0": "x_0", "pred_v": "v"}
"""Our prediction for each objective of theirs."""
OTHER_NETWORKS = {
    ".fn.": "a network of a release before 1.8.0, which has other norms and convolutions; train or "
    "convert it with a newer one",
    "time_mlp.0.weights": "a random or learned embedding of t, as continuous time has it",
    "classes_emb": "the class-conditional network of classifier_free_guidance",
}
"""Parts of tensors' names, and the network of theirs, none of ours, that has such."""


def read(tensors: dict[str, Tensor], args: argparse.Namespace) -> Imported:
    """Read a state dict of theirs; see `diffusion.importing.project.Read`."""
    diffusion = _diffusion(tensors, args.weights)
    unet = _part(diffusion, "model.")
    _check_kind(unet)
    network = _network(unet, args)
    betas = diffusion["betas"].double()
    process = ProcessConfig(
        num_timesteps=len(betas),
        schedule="table",
        beta_table=tuple(betas.tolist()),
        variance="fixed_small" if network.out_channels == network.in_channels else "learned_range",
        prediction=OBJECTIVES[_objective(diffusion, Process.from_beta(betas).snr, args.objective)],
    )
    expected = shapes(network)
    table: Table = {name: (name,) for name in expected}
    return Imported(network, process, rename(unet, table, expected, _hint))


def _diffusion(tensors: Mapping[str, Tensor], weights: str | None) -> dict[str, Tensor]:
    """The state dict of the GaussianDiffusion: that of the average (EMA) where nothing is said."""
    for kind, places in PLACES.items():
        for place in places if weights in (None, kind) else ():
            found = _part(tensors, place)
            if "betas" in found and "model.init_conv.weight" in found:
                if found["betas"].dim() != 1 or not found["betas"].is_floating_point():
                    raise ForeignError(f"tensor {place}betas: not a list of numbers")
                return found
    named = f" of --weights {weights}" if weights else ""
    raise ForeignError(
        f"tensors betas and model.init_conv.weight{named} are missing; save what Trainer does, or "
        "the state_dict() of the GaussianDiffusion"
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _check_kind(tensors: Mapping[str, Tensor]) -> None:
    """Raise ForeignError for a network of theirs that ours cannot be."""
    for name in tensors:
        for part, network in OTHER_NETWORKS.items():
            if part in name:
                raise ForeignError(f"tensor {name}: {network}, which is not known here")
    in_channels = size(tensors, "init_conv.weight", 1)
    if in_channels == 2 * size(tensors, "final_conv.weight"):
        raise ForeignError(
            f"tensor init_conv.weight takes {in_channels} channels: self_condition, which feeds "
            "the network its last x_0_hat, is not known here"
        )


def _network(tensors: Mapping[str, Tensor], args: argparse.Namespace) -> LucidrainsUnetConfig:
    levels = _levels(tensors)
    attentions = [f"downs.{level}.2" for level in range(len(levels))]
    heads = [_heads(tensors.get(f"{name}.mem_kv"), args.heads) for name in attentions]
    return LucidrainsUnetConfig(
        sample_size=args.image_size,
        in_channels=size(tensors, "init_conv.weight", 1),
        out_channels=size(tensors, "final_conv.weight"),
        dim=size(tensors, "time_mlp.1.weight", 1),
        widths=(size(tensors, "init_conv.weight"), *levels),
        full_attention=tuple(f"{name}.to_out.weight" in tensors for name in attentions),
        heads=tuple(heads),
        head_dim=tuple(
            size(tensors, f"{name}.to_qkv.weight") // (3 * max(count, 1))
            for name, count in zip(attentions, heads, strict=True)
        ),
        num_mem_kv=size(tensors, "mid_attn.mem_kv", 2) if "mid_attn.mem_kv" in tensors else 0,
        norm="rms" if "mid_block1.block1.norm.g" in tensors else "group",
        norm_groups=args.groups,
        theta=args.theta,
    )


def _levels(tensors: Mapping[str, Tensor]) -> list[int]:
    """The width below each level: that which its last layer gives."""
    widths: list[int] = []
    for level in range(MAX_LEVELS + 1):
        names = f"downs.{level}.3.1.weight", f"downs.{level}.3.weight"
        found = [name for name in names if name in tensors]
        if not found:
            break
        widths.append(size(tensors, found[0]))
    return widths


def _heads(memory: Tensor | None, unless_told: int) -> int:
    """How many heads an attention has: its learned keys and values are by head, (2, heads, …)."""
    return max(memory.shape[1], 1) if memory is not None and memory.dim() == 4 else unless_told


def _objective(diffusion: Mapping[str, Tensor], snr: Tensor, asked: str | None) -> str:
    """What the network predicts: as the weights of its loss tell, or else the flag."""
    told = _weighted_for(diffusion.get("loss_weight"), snr)
    if asked and told and asked != told:
        raise ForeignError(f"--objective: {asked}, but the file's loss_weight is that of {told}")
    if not asked and not told:
        raise ForeignError(
            "--objective: missing, and the file does not tell it; it is GaussianDiffusion's, "
            f"one of {', '.join(OBJECTIVES)}"
        )
    return asked or told or ""


def _weighted_for(weight: Tensor | None, snr: Tensor) -> str | None:
    """The one objective whose error, weighted so at each t, is that of x_0 times min(SNR, some
    number); None where there is no such."""
    if weight is None or weight.shape != snr.shape:
        return None
    clipped = {
        "pred_noise": weight.double() * snr,
        "pred_x0": weight.double(),
        "pred_v": weight.double() * (snr + 1),
    }
    fits = [
        name
        for name, found in clipped.items()
        if torch.allclose(found, snr.clamp(max=found.max().item()), rtol=1e-3, atol=0)
    ]
    return fits[0] if len(fits) == 1 else None


def _hint(name: str) -> str:
    """What to look at when something is wrong with one of their tensors."""
    return " (--heads)" if ".to_qkv" in name or ".to_out" in name else ""
