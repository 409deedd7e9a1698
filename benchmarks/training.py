"""Training throughput in images per second: ours, lucidrains' Trainer, diffusers' example script.

    pip install -e '.[train,benchmarks-training]'
    python -m benchmarks.training configs/mnist.toml

All have the same network (the peers diffusers' UNet2DModel, whose layers ours has too), batch
size, images on disk and machine; the peers keep their own optimiser, average of weights, data
pipeline and defaults. They take turns in one process, for several rounds, so that other work on the
machine slows all of them. Class labels are left out: neither peer trains with them.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.peers.loops import Adapter
from diffusion import pixels
from diffusion.config import Config
from diffusion.cores import available_cores
from diffusion.data import datasets
from diffusion.training.trainer import Trainer
from diffusion.unet_config import UNetConfig

NUM_IMAGES = 2000
"""How many images the data set has, which all of them read."""
Steps = Callable[[int], object]
"""Runs so many training steps."""
Precision = Literal["float32", "bfloat16"]


def ours(config: Config, images: Path, folder: Path, _peers: Precision) -> Steps:
    """Prepare the loop of `ddpm train`, with images read as `ddpm train --data` does."""
    trainer = Trainer(config, datasets.load(str(images)), folder / "run")

    def run(count: int) -> None:
        for _ in range(count):
            trainer.train_step()

    return run


def lucidrains(config: Config, images: Path, folder: Path, precision: Precision) -> Steps:
    """Prepare denoising-diffusion-pytorch's Trainer, with its defaults but for the precision."""
    from denoising_diffusion_pytorch import GaussianDiffusion
    from denoising_diffusion_pytorch import Trainer as Peer

    size, _ = config.unet.image_size
    diffusion = GaussianDiffusion(
        Adapter(unet(config.unet), config.unet.in_channels), image_size=size,
        timesteps=config.process.num_timesteps,
    )  # fmt: skip
    trainer = Peer(
        diffusion, str(images), train_batch_size=config.training.batch_size,
        augment_horizontal_flip=bool(config.training.horizontal_flip), save_and_sample_every=10**9,
        results_folder=str(folder / "lucidrains"), calculate_fid=False, train_num_steps=0,
        amp=precision == "bfloat16", mixed_precision_type="bf16",
    )  # fmt: skip

    def run(count: int) -> None:
        trainer.train_num_steps += count
        trainer.train()

    return run


def diffusers(config: Config, images: Path, folder: Path, precision: Precision) -> Steps:
    """Prepare the loop of diffusers' train_unconditional.py, with its defaults but for --use_ema
    and the precision."""
    from accelerate import Accelerator
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from torchvision import transforms

    mixed = "bf16" if precision == "bfloat16" else "no"
    accelerator: Any = Accelerator(project_dir=str(folder), mixed_precision=mixed)
    model: Any = unet(config.unet)
    ema = EMAModel(
        model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75,
        model_cls=UNet2DModel, model_config=model.config,
    )  # fmt: skip
    make_scheduler: Any = DDPMScheduler
    noise_scheduler = make_scheduler(config.process.num_timesteps, beta_schedule="linear")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
    )
    steps: list[nn.Module] = [
        transforms.Resize(config.unet.image_size[0]), transforms.CenterCrop(config.unet.image_size),
        *([transforms.RandomHorizontalFlip()] if config.training.horizontal_flip else []),
        transforms.ToTensor(), transforms.Normalize([0.5], [0.5]),
    ]  # fmt: skip
    loader = torch.utils.data.DataLoader(
        Pictures(images, transforms.Compose(steps)), config.training.batch_size, shuffle=True
    )
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=10**5)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    batches = endless(loader)

    def run(count: int) -> None:
        model.train()
        for clean in itertools.islice(batches, count):
            noise = torch.randn(clean.shape, dtype=clean.dtype, device=clean.device)
            t = torch.randint(0, noise_scheduler.config.num_train_timesteps, (len(clean),)).long()
            noisy = noise_scheduler.add_noise(clean, noise, t)
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(noisy, t).sample.float(), noise.float())
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            ema.step(model.parameters())
            loss.detach().item()

    return run


PEERS = {"ours": ours, "lucidrains": lucidrains, "diffusers": diffusers}


def unet(config: UNetConfig) -> nn.Module:
    """Make the network of a configuration with diffusers' code."""
    from diffusers import UNet2DModel

    make: Any = UNet2DModel
    made: nn.Module = make(**dataclasses.asdict(config))
    return made


class Pictures(torch.utils.data.Dataset[Tensor]):
    """A folder of PNGs, decoded and transformed one by one, as diffusers' example does."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = sorted(folder.iterdir())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.paths[i]) as image:
            return self.transform(image)


def endless(loader: "torch.utils.data.DataLoader[Tensor]") -> Iterator[Tensor]:
    """Yield a loader's batches, over and over."""
    while True:
        yield from loader


def write_images(config: UNetConfig, folder: Path) -> Path:
    """Write NUM_IMAGES PNGs of noise to a new folder: what they show does not change the time."""
    folder.mkdir()
    shape = (NUM_IMAGES, *config.image_size, config.in_channels)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, shape, np.uint8)):
        pixels.picture(image).save(folder / f"{i:05d}.png")
    return folder


def measure(steps: dict[str, Steps], rounds: int, count: int) -> dict[str, list[float]]:
    """Measure the seconds a step takes each, round by round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in tqdm(range(rounds + 1), desc="rounds"):
        for name, run in steps.items():
            started = time.perf_counter()
            run(count)
            if number:
                seconds[name].append((time.perf_counter() - started) / count)
    return seconds


def main(argv: list[str] | None = None) -> None:
    """Run the command in this module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description="Compare how many images a second we and two peers train with.",
        epilog="example:\n  python -m benchmarks.training configs/mnist.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, precisions = parser.add_argument, get_args(Precision)
    add("config", type=Path, help="configuration, a TOML file; see configs/")
    add("--rounds", type=int, default=5, help="rounds of each (default: %(default)s)")
    add("--steps", type=int, default=10, help="steps in a round (default: %(default)s)")
    add("--batch-size", type=int, help="images in a step (default: the configuration's)")
    add("--precision", choices=precisions, help="our precision (default: the configuration's)")
    add("--peers", choices=precisions, default="float32",
        help="the peers' precision (default: %(default)s, their own)")  # fmt: skip
    args = parser.parse_args(argv)
    config = Config.read(args.config)
    batch_size = args.batch_size or config.training.batch_size
    precision = args.precision or config.training.precision
    config = dataclasses.replace(
        config,
        unet=dataclasses.replace(config.unet, num_class_embeds=None),
        training=dataclasses.replace(
            config.training, batch_size=batch_size, precision=precision, label_dropout=0.0,
            save_every=10**9,
        ),
    )  # fmt: skip
    torch.set_num_threads(available_cores())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = write_images(config.unet, folder / "images")
        steps = {peer: make(config, images, folder, args.peers) for peer, make in PEERS.items()}
        seconds = measure(steps, args.rounds, args.steps)
    print(f"{args.config}, {precision} (the others {args.peers}), batches of {batch_size},")
    threads = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    print(f"{threads}, the median of {args.rounds} rounds of {args.steps} steps")
    print("| | images/s | ours is faster by |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        ratios = [t / o for t, o in zip(taken, seconds["ours"], strict=True)]
        ratio = "" if name == "ours" else f"{statistics.median(ratios):.2f}"
        print(f"| {name} | {batch_size / statistics.median(taken):.1f} | {ratio} |")
    sys.stdout.flush()
    os._exit(0)  # lucidrains' loader workers do not end by themselves


if __name__ == "__main__":
    main()
