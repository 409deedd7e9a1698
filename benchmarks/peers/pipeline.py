"""What both peers run: the loop of diffusers' DDIMPipeline, with class labels.

DDPMPipeline and DDIMPipeline take no labels, so their `__call__` is written out, the loop of
diffusers' documentation ("Deconstruct a basic pipeline"), with `class_labels` given to the U-Net.
"""

import base64
import io
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from diffusion.config import Precision


class Body(BaseModel):
    """The fields of our contract that a peer understands; it ignores the others."""

    n: int = 1
    seed: int = 0
    steps: int = 50
    labels: int | None = None
    frames: int = 11


class Pipeline:
    """A checkpoint in diffusers' own classes; not for several threads at once. In bfloat16 the
    network runs under autocast, as PyTorch's documentation shows."""

    def __init__(self, checkpoint: str, device: str, precision: Precision = "float32") -> None:
        load_unet: Any = UNet2DModel.from_pretrained
        load_scheduler: Any = DDIMScheduler.from_pretrained
        unet = load_unet(checkpoint, subfolder="unet", use_safetensors=True)
        self.is_half = precision == "bfloat16"
        self.unet: Any = unet.eval().to(device)
        self.scheduler: Any = load_scheduler(checkpoint, subfolder="scheduler")

    @torch.inference_mode()
    def __call__(self, bodies: list[Body]) -> list[Tensor]:
        """The states of each request's images, (steps + 1, n, C, H, W), noise first. All of the
        requests take the steps of the first, in one batch."""
        device = self.unet.device
        x_t = torch.cat([self._noise(body) for body in bodies]).to(device)
        labels = None
        if self.unet.config.num_class_embeds is not None:
            asked = [body.labels or 0 for body in bodies for _ in range(body.n)]
            labels = torch.tensor(asked, device=device)
        self.scheduler.set_timesteps(bodies[0].steps)
        states = [x_t]
        for t in self.scheduler.timesteps:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.is_half):
                out = self.unet(x_t, t, class_labels=labels).sample.float()
            eps_hat = out[:, : x_t.shape[1]]  # DDIM has no use for a learned variance
            x_t = self.scheduler.step(eps_hat, t, x_t).prev_sample
            states.append(x_t)
        return list(torch.stack(states).cpu().split([body.n for body in bodies], dim=1))

    def _noise(self, body: Body) -> Tensor:
        config = self.unet.config
        shape = (body.n, config.in_channels, config.sample_size, config.sample_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(body.seed))


def pngs(images: Tensor) -> list[str]:
    """Images (n,C,H,W) as PNGs in base64."""
    values = ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [_png(image.permute(1, 2, 0).squeeze(-1).numpy()) for image in values]


def _png(pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
