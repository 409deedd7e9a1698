"""A device's queue without a device: strict about what is recorded, and as late as may be."""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = {
    "aten._local_scalar_dense",  # .item(), and what a tensor decides in Python
    "aten.nonzero",
    "aten.masked_select",
    "aten.lift_fresh",  # torch.tensor(…): a copy from the host
    "aten.unique_consecutive",
}
"""Operations that wait for the device, or whose results have a form that only it knows."""


class Strict(TorchDispatchMode):
    """Refuses what a CUDA graph cannot record."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).rsplit(".", 1)[0]
        if name in REFUSED:
            raise RuntimeError(f"{name} cannot be recorded")
        if name in ("aten.index", "aten.index_put_"):
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            if masks:
                raise RuntimeError(f"{name} by a mask cannot be recorded")
        return func(*args, **(kwargs or {}))


class FakeQueue:
    """A queue whose work is done at once, when somebody waits for it (`late`), or at moments in
    between (`random`). Until then there is no number where the host might read too early."""

    device = torch.device("cpu")
    runs_ahead = True

    def __init__(self, when: Literal["at once", "late", "random"] = "at once") -> None:
        self.when = when
        self._random = random.Random(0)
        self._work: deque[Callable[[], object]] = deque()
        self._done = self._put_in = 0

    def on_host(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        with Strict():  # type: ignore[no-untyped-call]
            step()
        return lambda: self._put(step)

    def copy(self, target: Tensor, source: Tensor) -> None:
        if self.when != "at once" and target.dtype != torch.int64:
            target.fill_(torch.nan if target.dtype == torch.float32 else True)
        self._put(lambda: target.copy_(source))

    def mark(self) -> "FakeMark":
        return FakeMark(self, self._put_in)

    def work_until(self, mark: int) -> None:
        """Do all work that was put in before."""
        while self._done < mark:
            self._work.popleft()()
            self._done += 1

    def _put(self, work: Callable[[], object]) -> None:
        self._work.append(work)
        self._put_in += 1
        if self.when == "at once":
            self.work_until(self._put_in)
        elif self.when == "random":
            self.work_until(self._random.randint(self._done, self._put_in))


class FakeMark:
    """A place in a fake queue."""

    def __init__(self, queue: FakeQueue, place: int) -> None:
        self._queue, self._place = queue, place

    def wait(self) -> None:
        self._queue.work_until(self._place)
