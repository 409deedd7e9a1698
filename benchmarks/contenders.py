"""What `benchmarks.sampling` compares: whoever makes images from a checkpoint, by name."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.runtime import make_runtime
from app.wire.options import Options
from benchmarks.engine_client import EngineClient
from benchmarks.machine import TORCH_TYPES
from benchmarks.networks import Network
from benchmarks.peers.loops import PipelineName, Sample, lucidrains, pipeline
from diffusion.config import Precision
from diffusion.devices import torch_threads
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.spacing import SamplerName


@dataclass(frozen=True)
class Setting:
    """What a contender is to run: the network, where, in which precision, and how many images at
    once at most."""

    network: Network
    precision: Precision
    device: torch.device
    threads: int
    max_batch: int


def check_precision(made: str, setting: Setting) -> None:
    """Raise RuntimeError where a network is not computed in the precision asked for."""
    if made != setting.precision:
        raise RuntimeError(f"ours computes this network in {made}, not in {setting.precision}")


Make = Callable[[Setting, contextlib.ExitStack], Sample]
"""Prepares a contender; what is to be closed afterwards goes on the stack."""


def engine(setting: Setting, stack: contextlib.ExitStack) -> Sample:
    """Our engine, as the server runs it, DDIM."""
    options = Options(setting.device.type, "auto", setting.threads, setting.precision)
    client = stack.enter_context(EngineClient(options, setting.network.folder))
    check_precision(client.model.precision, setting)

    def made(images: int, steps: int) -> Tensor:
        job = client.submit(images, steps)
        client.wait(job)
        joined = bytearray(b"".join(job.images.values()))
        return torch.frombuffer(joined, dtype=torch.float32).reshape(images, *shape)

    shape = client.model.image_shape
    return made


def ours(runtime: str, sampler: SamplerName) -> Make:
    """One of our runtimes (a name that `make_runtime` takes) and samplers, without an engine."""

    def prepare(setting: Setting, _stack: contextlib.ExitStack) -> Sample:
        checkpoint, device = setting.network.checkpoint, setting.device
        process = Process.from_config(checkpoint.process)
        shape, clip = checkpoint.unet.image_shape, checkpoint.process.clip
        model = setting.network.model()
        run = make_runtime(
            runtime, model, device, setting.threads, setting.max_batch, setting.precision
        )
        check_precision(run.precision, setting)

        @torch.inference_mode()
        def made(images: int, steps: int) -> Tensor:
            table = make_table(process, sampler, steps)
            seeds = torch.zeros(images, dtype=torch.int64, device=device)
            indices = torch.arange(images, device=device)
            states = sample(run, table, seeds, indices, shape, Conditioning(None), clip)
            with torch_threads(1 if run.name == "openvino" else setting.threads):
                for state in states:
                    last = state.x_t
            return last.cpu()

        return made

    return prepare


def diffusers(name: PipelineName, *, compiled: bool = False) -> Make:
    """One of diffusers' pipelines."""

    def prepare(setting: Setting, _stack: contextlib.ExitStack) -> Sample:
        dtype = TORCH_TYPES[setting.precision]
        return pipeline(name, setting.network.folder, setting.device, dtype, compiled=compiled)

    return prepare


def lucidrains_ddim(setting: Setting, _stack: contextlib.ExitStack) -> Sample:
    """denoising-diffusion-pytorch's DDIM."""
    return lucidrains(setting.network.folder, setting.device, TORCH_TYPES[setting.precision])


@dataclass(frozen=True)
class Contender:
    """`about` is its row's text in the tables."""

    about: str
    make: Make
    devices: tuple[str, ...] = ("cpu", "cuda")


CONTENDERS = {
    "ours": Contender("our engine, DDIM", engine),
    "openvino": Contender("our OpenVINO runtime, DDIM", ours("openvino", "ddim"), ("cpu",)),
    "openvino-ddpm": Contender("our OpenVINO runtime, DDPM", ours("openvino", "ddpm"), ("cpu",)),
    "cuda-graph": Contender("our CUDA graphs, DDIM", ours("cuda-graph", "ddim"), ("cuda",)),
    "eager": Contender("our network in eager PyTorch, DDIM", ours("eager", "ddim")),
    "diffusers": Contender("diffusers DDIMPipeline", diffusers("DDIMPipeline")),
    "diffusers-compiled": Contender(
        "diffusers DDIMPipeline, compiled", diffusers("DDIMPipeline", compiled=True)
    ),
    "diffusers-ddpm": Contender("diffusers DDPMPipeline", diffusers("DDPMPipeline")),
    "diffusers-ddpm-compiled": Contender(
        "diffusers DDPMPipeline, compiled", diffusers("DDPMPipeline", compiled=True)
    ),
    "lucidrains": Contender("lucidrains GaussianDiffusion, DDIM", lucidrains_ddim),
}
"""In the order of the tables. Ratios are to the first."""
