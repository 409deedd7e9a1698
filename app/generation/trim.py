"""Giving freed memory back to the system."""

import ctypes
import sys


def trim() -> None:
    """Return what is free in the allocator, if it is glibc's. Small pieces that outlive large ones
    would else keep them from the system, and the next large answer would come on top. Takes some
    milliseconds."""
    if sys.platform == "linux":
        release = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if release is not None:
            release(0)
