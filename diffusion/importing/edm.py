"""NVlabs/edm: a `SongUNet` in its form of DDPM++, with its preconditioning VPPrecond or EDMPrecond.

That project has no chain: its denoiser D(x, sigma) takes an image with noise of any standard
deviation sigma, and its samplers choose those they need. Here a chain of T steps is chosen for it,
with a sigma each. The chain's x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps is x, scaled:

    x = x_t / sqrt(alpha_bar)    and    sigma^2 = (1 - alpha_bar) / alpha_bar

so that eps_hat = (x - D(x, sigma)) / sigma is linear in x_t and in what the network gives.
Equations and tables are of Karras, Aittala, Aila, Laine 2022.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.checkpoint import shapes
from diffusion.config import MAX_TIMESTEPS, ProcessConfig
from diffusion.fields import require
from diffusion.importing.errors import ForeignError
from diffusion.importing.project import Imported
from diffusion.importing.renaming import Shapes, Table, layer, rename, size
from diffusion.networks.song import TABLES
from diffusion.networks.song_config import SongUNetConfig

BETA_D, BETA_MIN = 19.9, 0.1
"""Of the VP process: alpha_bar(u) = exp(-(BETA_D u^2 / 2 + BETA_MIN u)), u in (0, 1]."""
LAST_LABEL = 999.0
"""What the network is told at u = 1, of VPPrecond: M - 1."""
RHO = 7.0
"""How much closer the levels of EDMPrecond are where there is little noise (eq. 5)."""
BLOCK = re.compile(r"enc\.(\d{1,6})x\1_block(\d{1,3})\.")
"""A block on the way down: the side of its images, and its number there."""
OTHER_NETWORKS = {
    "out_conv.weight": "a DhariwalUNet (ADM)",
    "map_noise.freqs": "the form NCSN++ of a SongUNet, which the *-ve models have",
}
"""Tensors that no DDPM++ has, and which network of theirs does."""


@dataclass(frozen=True)
class Chain:
    """A chain of T steps, and how the network is called at each; all (T,) float64."""

    alpha_bar: Tensor
    tables: dict[str, Tensor]  # by the names of `diffusion.networks.song.TABLES`

    @property
    def beta(self) -> Tensor:
        """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, (T,)."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])
        return 1 - self.alpha_bar / before


def read(tensors: dict[str, Tensor], args: argparse.Namespace) -> Imported:
    """Read the state dict of a preconditioned network; see `diffusion.importing.project.Read`."""
    steps = args.timesteps
    require(2 <= steps <= MAX_TIMESTEPS, "--timesteps", steps, f"2..{MAX_TIMESTEPS}")
    chain = vp_chain(steps) if args.precond == "vp" else _edm_chain_of(args)
    song = _song(tensors)
    network = _network(song, steps)
    process = ProcessConfig(
        num_timesteps=steps,
        schedule="table",
        beta_table=tuple(chain.beta.tolist()),
        clip=None,  # as in that project's samplers
    )
    expected = shapes(network)
    renamed = rename(song, _table(expected, network.image_size[0]), expected, lambda _: "")
    return Imported(network, process, renamed | {n: t.float() for n, t in chain.tables.items()})


def vp_chain(T: int) -> Chain:
    """Make the chain of VPPrecond: u rises evenly to 1, and the network gives eps_hat itself."""
    u = torch.arange(1, T + 1, dtype=torch.float64) / T
    one, zero = torch.ones_like(u), torch.zeros_like(u)
    tables = {
        "input_scale": one,  # c_in x = x_t
        "skip_scale": zero,
        "output_scale": one,  # c_skip = 1 and c_out = -sigma, so D = x - sigma F
        "noise_label": LAST_LABEL * u,
    }
    return Chain(torch.exp(-(BETA_D * u**2 / 2 + BETA_MIN * u)), tables)


def edm_chain(T: int, sigma_min: float, sigma_max: float, sigma_data: float) -> Chain:
    """Make the chain of EDMPrecond, whose noise levels are those of that project's sampler: equal
    steps of sigma^(1 / RHO) from sigma_min to sigma_max (eq. 5)."""
    low, high = sigma_min ** (1 / RHO), sigma_max ** (1 / RHO)
    sigma = torch.linspace(low, high, T, dtype=torch.float64) ** RHO
    alpha_bar = 1 / (1 + sigma**2)
    a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    # D(x) = c_skip x + c_out F(c_in x, c_noise) with the c of table 1. Put into eps_hat, where
    # x = x_t / a and sigma = b / a, all have the same denominator:
    n = b**2 + (a * sigma_data) ** 2  # a^2 (sigma^2 + sigma_data^2), the variance of x_t
    tables = {
        "input_scale": n.rsqrt(),
        "skip_scale": b / n,
        "output_scale": -a * sigma_data * n.rsqrt(),
        "noise_label": sigma.log() / 4,
    }
    return Chain(alpha_bar, tables)


def _edm_chain_of(args: argparse.Namespace) -> Chain:
    lowest, highest, data = args.sigma_min, args.sigma_max, args.sigma_data
    require(1e-4 <= lowest < highest, "--sigma-min", lowest, f"1e-4 or more, below {highest}")
    require(highest <= 1e4, "--sigma-max", highest, "at most 10000")
    require(1e-3 <= data <= 1e3, "--sigma-data", data, "0.001..1000")
    return edm_chain(args.timesteps, lowest, highest, data)


def _song(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors, without what sampling does not need: the filters of DDPM++, which are
    a mean of 2 x 2 pixels, and what is told of augmented images.

    Raises ForeignError for another network.
    """
    song = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    for name, network in OTHER_NETWORKS.items():
        if name in song:
            raise ForeignError(f"tensor {name}: {network}, which is not known here")
    kept = {}
    for name, tensor in song.items():
        if name.endswith("resample_filter"):
            if tensor.shape[-2:] != (2, 2):
                raise ForeignError(f"tensor {name}: not the filter [1, 1] of DDPM++")
        elif name != "map_augment.weight":
            kept[name] = tensor
    return kept


def _network(song: Mapping[str, Tensor], num_timesteps: int) -> SongUNetConfig:
    """The network, whose blocks are named by the side of the images that they take."""
    blocks = [(int(m[1]), int(m[2])) for name in song if (m := BLOCK.match(name))]
    if not blocks:
        raise ForeignError("tensor enc.32x32_block0.norm0.weight, or of another size, is missing: "
                           "not a network of this project")  # fmt: skip
    sides = sorted({side for side, _ in blocks}, reverse=True)
    top = sides[0]
    width = max(size(song, f"enc.{top}x{top}_conv.weight"), 1)
    return SongUNetConfig(
        sample_size=top,
        in_channels=size(song, f"enc.{top}x{top}_conv.weight", 1),
        out_channels=size(song, f"dec.{top}x{top}_aux_conv.weight"),
        model_channels=width,
        channel_mult=tuple(size(song, f"enc.{s}x{s}_block0.conv0.weight") // width for s in sides),
        num_blocks=1 + max(block for _, block in blocks),
        attn_resolutions=tuple(s for s in sides if f"enc.{s}x{s}_block0.qkv.weight" in song),
        label_dim=size(song, "map_label.weight", 1) if "map_label.weight" in song else 0,
        num_train_timesteps=num_timesteps,
    )


def _table(expected: Shapes, top: int) -> Table:
    """Say which of our tensors each of theirs is: all have their names, but for the last layers."""
    table: Table = {name: (name,) for name in expected if name not in TABLES}
    for theirs, ours in (("aux_norm", "out_norm"), ("aux_conv", "out_conv")):
        for name in layer(ours):
            del table[name]
        table |= layer(f"dec.{top}x{top}_{theirs}", ours)
    return table
