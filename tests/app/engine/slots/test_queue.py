"""The queue of a CPU, and the fake one, which is as strict and as late as a GPU's may be."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.engine.slots.queue import Immediate, Queue
from tests.app.engine.slots.fake_queue import FakeQueue


@pytest.mark.parametrize(
    "queue", [Immediate(), FakeQueue(), FakeQueue("late"), FakeQueue("random")]
)
def test_work_is_done_in_its_order_once_somebody_has_waited(queue: Queue) -> None:
    x, seen = torch.zeros(1), queue.on_host(torch.zeros(1))
    step = queue.record(lambda: x.add_(1))  # type: ignore[arg-type, return-value]
    queue.copy(x, torch.full((1,), 5.0))
    step()
    queue.copy(seen, x)
    mark = queue.mark()
    step()
    mark.wait()
    assert seen.item() == 6
    queue.mark().wait()
    assert x.item() == 7


def test_who_reads_before_that_reads_no_number() -> None:
    queue, x = FakeQueue("late"), torch.ones(2)
    seen = queue.on_host(x)
    queue.copy(seen, x)
    assert seen.isnan().all()


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: x.add_(1) if x.sum() > 0 else x,
    ],
    ids=["item", "nonzero", "mask", "from the host", "branch"],
)
def test_what_a_graph_cannot_record_is_refused(step: Callable[[Tensor], object]) -> None:
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        FakeQueue().record(lambda: step(x))  # type: ignore[arg-type, return-value]
