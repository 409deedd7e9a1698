"""A GPU's queue, and a board on it: the bytes of the plain loop on the CPU."""

import pytest
import torch

from app.engine.slots.cuda import CUDAQueue
from app.engine.slots.kernels import Kernels, ReferenceKernels
from app.wire.messages import Finished, Submit
from tests.app.engine.slots.conftest import CLIP, Desk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
JOBS = [
    Submit("ddpm", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 50),
    Submit("guided", "", 1, (0, 1, 2), (0, 1, 2), "ddim", 10, guidance=2.5, guided=(2, 7)),
    Submit("eta", "", 2**53 - 1, (2**40,), (2,), "ddim", 10, eta=0.5, client="other"),
    Submit("dpmpp", "", 1, (0, 3), (1, 1), "dpmpp", 6, shown=(1, 6)),
    Submit("unipc", "", 1, (0, 1), (1, 0), "unipc", 8),
    Submit("ipndm", "", 4, (2, 3, 4), (1, 2, 0), "ipndm", 9),
]


@pytest.fixture
def queue() -> CUDAQueue:
    return CUDAQueue(torch.device("cuda"))


def kernels(name: str) -> Kernels:
    if name == "reference":
        return ReferenceKernels(CLIP)
    pytest.importorskip("triton", reason="needs Triton")
    from app.engine.slots.triton_kernels import TritonKernels

    return TritonKernels(CLIP)


def test_work_is_done_in_its_order(queue: CUDAQueue) -> None:
    x = torch.zeros(1 << 20, device="cuda")
    seen, five = queue.on_host(x), queue.on_host(x).fill_(5)

    def add_one() -> None:
        x.add_(1)

    start = queue.record(add_one)
    queue.copy(x, five)
    for _ in range(100):
        start()
    queue.copy(seen, x)
    mark = queue.mark()
    start()
    mark.wait()
    assert (seen == 105).all()


@pytest.mark.parametrize("name", ["reference", "triton"])
@pytest.mark.parametrize(("depth", "steps"), [(1, 1), (2, 1), (2, 4)])
def test_samples_have_the_bytes_of_the_cpu(
    queue: CUDAQueue, name: str, depth: int, steps: int
) -> None:
    desk = Desk(queue=queue, kernels=kernels(name), depth=depth, steps=steps)
    events = []
    for submit in JOBS:
        desk.engine.submit(submit)
        events += desk.step()
    events += desk.drain()
    images = {(e.id, e.index): e.x_0 for e in events if isinstance(e, Finished)}
    assert images == desk.images(JOBS)


def test_recorded_steps_hold_their_memory(queue: CUDAQueue) -> None:
    desk = Desk(queue=queue)
    torch.cuda.empty_cache()
    torch.empty(1 << 26, device="cuda").fill_(torch.nan)
    desk.engine.submit(JOBS[0])
    images = {(e.id, e.index): e.x_0 for e in desk.drain() if isinstance(e, Finished)}
    assert images == desk.images(JOBS[:1])
