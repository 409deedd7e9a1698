"""Peers' samplers around the same network: diffusers' pipelines, lucidrains' GaussianDiffusion.

All load the weights of one checkpoint into diffusers' UNet2DModel, whose layers ours has too, and
make images without labels. In bfloat16 the whole network is, as their documentation shows it.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

Sample = Callable[[int, int], Tensor]
"""Makes so many images in so many steps: (n,C,H,W) or (n,H,W,C) on the CPU."""
PipelineName = Literal["DDIMPipeline", "DDPMPipeline"]


def unet2d(checkpoint: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a checkpoint's network as diffusers does."""
    from diffusers import UNet2DModel

    load: Any = UNet2DModel.from_pretrained
    unet = load(checkpoint, subfolder="unet", use_safetensors=True, torch_dtype=dtype)
    return unet.eval().to(device)


def pipeline(
    name: PipelineName,
    checkpoint: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    compiled: bool = False,
) -> Sample:
    """Prepare one of diffusers' pipelines, maybe with its network compiled by torch.compile."""
    import diffusers

    unet = unet2d(checkpoint, device, dtype)
    if compiled:
        compile_network(unet)
    scheduler: Any = getattr(diffusers, name.replace("Pipeline", "Scheduler"))
    made: Any = getattr(diffusers, name)(
        unet=unet, scheduler=scheduler.from_pretrained(checkpoint, subfolder="scheduler")
    )
    made.set_progress_bar_config(disable=True)

    def sample(images: int, steps: int) -> Tensor:
        out = made(batch_size=images, num_inference_steps=steps, output_type="pt")
        return out.images.float().cpu()  # type: ignore[no-any-return]

    return sample


def compile_network(unet: Any) -> None:
    """Compile a UNet2DModel in place: for each batch size by itself; on a GPU with CUDA graphs and
    the memory layout that diffusers' documentation advises."""
    is_gpu = unet.device.type == "cuda"
    if is_gpu:
        unet.to(memory_format=torch.channels_last)
    compile_forward: Any = torch.compile
    compiled = compile_forward(
        unet.forward, mode="reduce-overhead" if is_gpu else None, fullgraph=True, dynamic=False
    )

    @functools.wraps(unet.forward)
    def forward(x_t: Tensor, t: Tensor) -> Any:
        # The pipelines keep t on the CPU, for which PyTorch would make no CUDA graph.
        return compiled(x_t, t.to(x_t.device))

    unet.forward = forward


class Adapter(nn.Module):
    """Makes a UNet2DModel look as lucidrains' GaussianDiffusion calls its network."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.channels = self.out_dim = channels
        self.self_condition = False

    def forward(self, x_t: Tensor, t: Tensor, _x_self_cond: Tensor | None = None) -> Tensor:
        out: Tensor = self.network(x_t, t).sample
        return out


def lucidrains(checkpoint: str, device: torch.device, dtype: torch.dtype) -> Sample:
    """Prepare DDIM of denoising-diffusion-pytorch, around the same network; in bfloat16 by
    autocast, since its states are float32."""
    from denoising_diffusion_pytorch import denoising_diffusion_pytorch as theirs

    theirs.tqdm = functools.partial(tqdm, disable=True)  # else a bar for every chain
    unet = unet2d(checkpoint, device, torch.float32)
    adapter = Adapter(unet, unet.config.in_channels)
    size = unet.config.sample_size
    made: dict[int, Any] = {}

    def sample(images: int, steps: int) -> Tensor:
        if steps not in made:  # the number of steps is a part of the object
            made[steps] = theirs.GaussianDiffusion(
                adapter, image_size=size, timesteps=1000, sampling_timesteps=steps,
                objective="pred_noise",
            ).to(device)  # fmt: skip
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            out: Tensor = made[steps].sample(batch_size=images)
        return out.cpu()

    return sample
