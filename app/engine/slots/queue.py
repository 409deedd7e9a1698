"""The order of work on a device: copies and recorded steps are done one after the other, while the
host goes on."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Mark(Protocol):
    """A place in the queue."""

    def wait(self) -> None:
        """Return once everything before it is done. Raises what went wrong there."""


class Queue(Protocol):
    """Work for a device, which does it in this order."""

    device: torch.device
    runs_ahead: bool  # does the device work while the host goes on?

    def on_host(self, like: Tensor) -> Tensor:
        """Memory of the host of the same form, all 0, for copies from and to the device."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record a step that does the same whenever it is called: what it reads and writes stays
        where it is. Returns what puts it into the queue."""

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Put a copy into the queue; both must stay as they are until it is done."""

    def mark(self) -> Mark:
        """The place behind all that is in the queue."""


class Done:
    """A mark that has been passed."""

    def wait(self) -> None:
        """Return at once."""


class Immediate:
    """A queue whose work is done when it is put there: the CPU's, for the tests of a board that is
    made for GPUs."""

    device = torch.device("cpu")
    runs_ahead = False

    def on_host(self, like: Tensor) -> Tensor:
        """As in `Queue`."""
        return torch.zeros_like(like)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """As in `Queue`."""
        return step

    def copy(self, target: Tensor, source: Tensor) -> None:
        """As in `Queue`."""
        target.copy_(source)

    def mark(self) -> Mark:
        """As in `Queue`."""
        return Done()
