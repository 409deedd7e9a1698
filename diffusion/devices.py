"""Where PyTorch runs the network: choosing a device by name, and naming the machine it is in."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class DeviceError(ValueError):
    """A device that was asked for cannot be used; the message says which and why."""


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first GPU, or the CPU where there is none.

    Raises DeviceError where PyTorch does not know the name, or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Only an allocation proves that a device is there and usable.
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device: {name!r} cannot be used: {error}") from error
    return torch.device(name)


def describe_machine(device: torch.device) -> str:
    """Return this machine in words, for a model card: "x86_64, 16 cores, NVIDIA H100"."""
    parts = [platform.machine(), f"{os.cpu_count()} cores"]
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    return ", ".join(parts)


def describe_processor() -> str:
    """Return the model of this machine's processor and what it can do: what is compiled for one may
    run on no other, or with other rounding."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:  # not Linux
        lines = []
    facts = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    told = [line for line in lines if line.split("\t")[0].strip() in facts]
    capability = torch.backends.cpu.get_cpu_capability()
    return "\n".join([platform.machine(), platform.processor(), capability, *told])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have PyTorch share what this thread computes among so many threads, while this lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""What PyTorch calls the instructions that multiply bfloat16: of x86-64 two, of ARM one."""


def has_bfloat16(device: torch.device) -> bool:
    """Does the device multiply numbers of bfloat16 itself, so that they are faster than float32?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Older versions of PyTorch do not tell
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in BFLOAT16)


def total_memory(device: torch.device) -> int | None:
    """Return the memory of a GPU, or of this machine for its CPU, in bytes; None if not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
