"""One model trained by several processes, on one machine or more, as `torchrun` starts them.

    torchrun --nproc-per-node 4 -m diffusion train configs/cifar10.toml --out runs/cifar10

Each worker takes its share of every batch. Gradients are averaged (DistributedDataParallel), so
that all hold the same weights. Only the first one writes files.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from diffusion.devices import pick_device


@dataclass(frozen=True)
class Worker:
    """This process' place, `rank`, among the `count` that train together."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that writes files and shows progress."""
        return self.rank == 0

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """A block that the first worker passes alone, and then all others."""
        if self.count > 1 and not self.is_first:
            dist.barrier()
        yield
        if self.count > 1 and self.is_first:
            dist.barrier()

    def gather(self, own: Tensor) -> Tensor:
        """Join the values (B,) of all workers, in order of their ranks."""
        if self.count == 1:
            return own
        all_values = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(all_values, own)
        return torch.cat(all_values)

    def largest(self, own: int) -> int:
        """Return the largest of all workers' numbers, the same to each of them."""
        if self.count == 1:
            return own
        number = torch.tensor(own)  # on the CPU, so that no worker waits for its GPU
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)

    def share(self, model: nn.Module) -> nn.Module:
        """Wrap the model so that its gradients are averaged over all workers.

        A worker that is alone gets the model itself.
        """
        return DistributedDataParallel(model) if self.count > 1 else model


def averaging(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """A block whose backward pass averages a shared model's gradients over the workers.

    Unless `now`, they are only added up here, to be averaged by a later backward pass.
    """
    if isinstance(model, DistributedDataParallel) and not now:
        return cast(AbstractContextManager[object], model.no_sync())
    return nullcontext()


@contextmanager
def join(device: str) -> Iterator[tuple[Worker, torch.device]]:
    """A block in which this process has its place among those that torchrun started.

    Gives the place and the device; `auto` is the GPU with the process' number on this machine. A
    process that torchrun did not start is alone. Raises DeviceError.
    """
    if "RANK" not in os.environ:
        yield Worker(), pick_device(device)
        return
    if device == "auto" and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    picked = pick_device(device)
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    # Gloo averages what is on the CPU, NCCL what is on a GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Worker(dist.get_rank(), dist.get_world_size()), picked
        # Gloo's threads let go of their last tensors; at Python's end that would abort the process
        dist.barrier()
    finally:
        dist.destroy_process_group()
