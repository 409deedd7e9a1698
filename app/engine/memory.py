"""The memory of this process where its networks lie: a GPU's, or the machine's."""

import contextlib
import ctypes
import gc
import resource
from pathlib import Path

import torch


def memory_in_use() -> int:
    """Bytes that this process has of the GPUs that it uses, or else resident in the machine's
    memory."""
    if torch.cuda.is_initialized():
        return sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:  # no Linux: the most that there ever was, here in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone keeps it for later
        ctypes.CDLL(None).malloc_trim(0)
