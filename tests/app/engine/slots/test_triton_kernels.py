"""The kernels for a GPU have the bytes of the plain loop, operation by operation, in Triton's
interpreter: numpy, without a GPU."""

import dataclasses
from typing import Any

import pytest
import torch

from app.engine.slots.buffers import Row, States, StepBuffers
from app.engine.slots.kernels import LIMIT, ReferenceKernels
from app.engine.slots.queue import Immediate
from app.wire.messages import Finished, Frame, Submit
from diffusion import noise
from tests.app.engine.slots.conftest import CLIP, Desk, assert_as_the_plain_loop, toy_with_v

if torch.cuda.is_available():
    pytest.skip("the same is tested on the GPU", allow_module_level=True)
pytest.importorskip("triton", reason="needs Triton")
from app.engine.slots.triton_kernels import TritonKernels

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of NaN and overflow

JOBS = [
    Submit("ddpm", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 5, shown=(0, 2)),
    Submit("guided", "", 1, (0, 1), (0, 1), "ddim", 4, guidance=2.5, guided=(1, 3)),
    Submit("eta", "", 2**53 - 1, (2**40,), (2,), "ddim", 3, eta=0.5, client="other"),
    Submit("unipc", "", 1, (0, 1), (1, 0), "unipc", 5),
    Submit("ipndm", "", 4, (2, 3), (1, 2), "ipndm", 6),
]


def run(desk: Desk, jobs: list[Submit]) -> list[Any]:
    for submit in jobs:
        desk.engine.submit(submit)
    return desk.drain()


def triton_desk(**options: Any) -> Desk:
    kernels = TritonKernels(CLIP)
    return Desk(queue=Immediate(), kernels=kernels, sizes=(8,), shape=(1, 3, 3), **options)


@pytest.mark.parametrize("steps", [1, 3])
def test_all_samplers_have_the_bytes_of_the_plain_loop(steps: int) -> None:
    desk = triton_desk(steps=steps)
    events = run(desk, JOBS)
    made = {(e.id, e.index): e.x_0 for e in events if isinstance(e, Finished)}
    assert made == desk.images(JOBS)
    frames = {(e.index, e.position): e.x_t for e in events if isinstance(e, Frame)}
    states = desk.states(JOBS[0])
    assert frames == {(i, k): states[i][k] for i in (0, 1, 2) for k in (0, 2)}


def test_chains_that_begin_elsewhere_and_keep_a_part_have_them_too() -> None:
    desk = triton_desk(steps=3)
    assert_as_the_plain_loop(desk)


def test_a_learned_variance_has_the_bytes_of_the_plain_loop() -> None:
    learned = Submit("a", "", 1, (0, 1), (0, 1), "ddpm", 6, variance="learned_range")
    jobs = [learned, dataclasses.replace(learned, id="b", variance="fixed_small", guidance=1.5)]
    desk = triton_desk(model=toy_with_v)
    made = {(e.id, e.index): e.x_0 for e in run(desk, jobs) if isinstance(e, Finished)}
    assert made == desk.images(jobs)


@pytest.mark.parametrize("D", [4, 6, 700])
def test_noise_has_the_bytes_of_the_cpu(D: int) -> None:
    seeds = [0, 1, 2**53 - 1, 2**63 - 1]
    indices = [0, 2**40, 2**63 - 1, 5]
    buffers, states = of_rows(len(seeds), D)
    buffers.told.rows[Row.SEED] = torch.tensor(seeds)
    buffers.told.rows[Row.INDEX] = torch.tensor(indices)
    TritonKernels(CLIP).enter(states, buffers)
    zeros = torch.zeros(len(seeds), dtype=torch.int64)
    expected = noise.normal(torch.tensor(seeds), torch.tensor(indices), zeros, (D,))
    assert buffers.network.x_t.flatten(1).equal(expected)


@pytest.mark.parametrize("clip", [None, 0.7])
def test_any_numbers_become_what_the_reference_makes_of_them(clip: float | None) -> None:
    """Denormal, huge and infinite ones, too; what is not a number is told."""
    after = []
    for kernels in (ReferenceKernels(clip), TritonKernels(clip)):
        buffers, states = of_rows(8, 12)
        draw = torch.Generator().manual_seed(0)
        for x in (buffers.told.plan, states.x, states.past, buffers.network.out):
            x.copy_(torch.randn(x.shape, generator=draw))
        buffers.network.x_t.copy_(torch.randn(buffers.network.x_t.shape, generator=draw))
        odd = [0.0, -0.0, 1e-42, -1e-42, 3e38, -3e38, torch.inf, torch.nan]
        for row, number in enumerate(odd):
            buffers.network.out[row, 0, 0, row] = number
        buffers.told.plan[..., LIMIT] = torch.tensor([0.7, torch.inf]).repeat(4)
        states.known.copy_(torch.rand(states.known.shape, generator=draw))
        buffers.told.rows[Row.KNOWN, 2:5] = torch.tensor([0, 1, 2])
        buffers.told.rows[Row.DRAW] = torch.arange(8)
        buffers.told.rows[Row.LEFT] = torch.tensor([1, 1, 1, 0, 1, 1, 1, 1])
        buffers.told.places[0, 3] = -1  # nothing leaves of a row that is no chain's
        kernels.leave(states, buffers)
        after.append((states.x[:8], states.past[:8], states.ring[:8], buffers.bad[0]))
    for reference, made in zip(*after, strict=True):
        torch.testing.assert_close(made, reference, rtol=0, atol=0, equal_nan=True)
    bad = after[0][3].tolist()
    assert bad[7] and not any(bad[:4])


def of_rows(rows: int, D: int) -> tuple[StepBuffers, States]:
    """Buffers of so many rows, each of which has a slot and a place of the ring."""
    desk = Desk(queue=Immediate(), sizes=(rows,), num_slots=rows, shape=(1, 1, D))
    buffers, states = desk.board._recorded[rows].buffers, desk.board._states
    for which in (Row.READ, Row.WRITE):
        buffers.told.rows[which] = torch.arange(rows)
    buffers.told.rows[[Row.NULL, Row.KNOWN]] = -1
    buffers.told.rows[Row.FRESH] = 1
    buffers.told.places[0] = torch.arange(rows)
    return buffers, states
