"""A batch advanced step by step has the bytes of Algorithm 2 as a plain loop: `samplers.sample`.

The network is a toy: a function of a row's x_t, t and label, so that nothing else can make bytes
differ.
"""

import gc
import math
import weakref
from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor

from app.engine.batch import Batch
from app.engine.chain_step import ChainStep
from app.engine.job import Chain, Job
from app.engine.latency_curve import LatencyCurve
from app.engine.runner import Runner
from app.engine.runtime import Lanes
from app.engine.tables import sampler_tables
from app.wire.messages import Submit
from diffusion.config import Precision, ProcessConfig
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.spacing import SamplerName
from tests.app.engine.networks import network

SHAPE = (1, 2, 3)
SIZES = (2, 4, 8)
NULL_LABEL = 3
CLIP = 1.0
PROCESS = Process.from_config(ProcessConfig(num_timesteps=50))
NETWORK = network(LatencyCurve(dict.fromkeys(SIZES, 1.0)))
NETWORK.table = sampler_tables(PROCESS)


def toy(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
    """An eps_hat that depends on all of a row's inputs."""
    given = t if label is None else t + 7 * label
    return 0.5 * x_t + 0.01 * given[:, None, None, None]


class ToyRuntime:
    """Runs the toy, and notes what it was called with."""

    name, device = "toy", torch.device("cpu")
    precision: Precision = "float32"
    lanes: Lanes | None = None

    def __init__(self) -> None:
        self.batch_sizes: tuple[int, ...] = SIZES
        self.calls: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        self.calls.append((x_t, t, label))
        return toy(x_t, t, label)

    def prepare(self, batch_sizes: Sequence[int]) -> None:
        pass

    def keep(self, batch_sizes: tuple[int, ...]) -> None:
        self.batch_sizes = batch_sizes


class ToyLanes:
    """Two lanes, which note which of them was used for how many rows."""

    num_lanes = 2

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def run(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        self.calls.append((lane, len(x_t)))
        return toy(x_t, t, label)


@pytest.fixture
def runtime() -> ToyRuntime:
    return ToyRuntime()


@pytest.fixture
def runner(runtime: ToyRuntime) -> Runner:
    return Runner(runtime, SIZES, SHAPE, CLIP, NULL_LABEL)


def chains(submit: Submit) -> list[Chain]:
    """A new job's chains."""
    return Job.of(submit, NETWORK, now=0.0).chains


def one(index: int = 0, steps: int = 5) -> Chain:
    (chain,) = chains(Submit("job", "", 1, (index,), None, "ddpm", steps))
    return chain


def advance(runner: Runner, group: Sequence[Chain], lane: int | None = None) -> list[ChainStep]:
    """One step of these chains together, as the engine takes it."""
    call = runner.prepare(Batch.with_machine(NETWORK, group), lane)
    runner.run(call)
    runner.finish(call)
    for chain in group:
        chain.position += 1
    return [runner._states[chain] for chain in group]


def run_to_the_end(runner: Runner, group: Iterable[Chain]) -> dict[Chain, list[Tensor]]:
    """Every chain's states x_T .. x_0, all chains in one batch until each is over."""
    states: dict[Chain, list[Tensor]] = {chain: [] for chain in group}
    while left := [chain for chain in states if chain.position < chain.job.num_steps]:
        for chain, step in zip(left, advance(runner, left), strict=True):
            states[chain].append(step.x_t.clone())
            if chain.position == chain.job.num_steps:
                states[chain].append(step.x_prev.clone())
                runner.forget([chain])
    return states


def reference(chain: Chain) -> list[Tensor]:
    """The same chain alone, by the plain loop."""
    job = chain.job
    label = None if chain.label is None else torch.tensor([chain.label])
    condition = Conditioning(label, job.guidance, NULL_LABEL, job.guided)
    seeds, indices = torch.tensor([job.seed]), torch.tensor([chain.index])
    states = sample(toy, job.table, seeds, indices, SHAPE, condition, CLIP)
    return [state.x_t[0] for state in states]


def check_bytes(states: dict[Chain, list[Tensor]]) -> None:
    for chain, mine in states.items():
        expected = reference(chain)
        assert len(mine) == len(expected) == chain.job.num_steps + 1
        assert torch.equal(torch.stack(mine), torch.stack(expected))


@pytest.mark.parametrize(
    "submit",
    [
        Submit("a", "", 1, (0, 5, 6), None, "ddpm", 20),
        Submit("a", "", 1, (0, 5, 6), None, "ddpm", 20, variance="fixed_large"),
        Submit("a", "", 2, (3,), None, "ddim", 7, eta=0.5),
        Submit("a", "", 2, (3,), None, "ddim", 1),
        Submit("a", "", 3, (0, 1), None, "dpmpp", 6),
        Submit("a", "", 3, (0, 1), None, "unipc", 8),
        Submit("a", "", 3, (0, 1), None, "ipndm", 8),
        Submit("a", "", 4, (0, 1), (2, 0), "ddpm", 5),
        Submit("a", "", 4, (0, 1), (2, 0), "dpmpp", 5, guidance=1.5),
        Submit("a", "", 4, (0, 1), (2, 0), "dpmpp", 5, guidance=1.5, guided=(1, 3)),
    ],
    ids=[
        "ddpm",
        "large",
        "ddim",
        "one step",
        "dpmpp",
        "unipc",
        "ipndm",
        "labels",
        "guidance",
        "some steps guided",
    ],
)
def test_a_job_has_the_states_of_the_plain_loop(runner: Runner, submit: Submit) -> None:
    states = run_to_the_end(runner, chains(submit))
    check_bytes(states)
    assert len(runner) == 0


def test_jobs_of_all_kinds_in_one_batch_have_the_states_of_the_plain_loop(runner: Runner) -> None:
    group = [
        *chains(Submit("a", "", 1, (0, 1), (0, 1), "ddpm", 9)),
        *chains(Submit("b", "", 1, (0,), (2,), "ddim", 4, guidance=3.0)),
        *chains(Submit("c", "", 2, (7,), (1,), "dpmpp", 6, guidance=0.5, guided=(2, 5))),
        *chains(Submit("d", "", 2, (1,), (1,), "unipc", 7)),
        *chains(Submit("e", "", 3, (5,), (0,), "ipndm", 8)),
    ]
    check_bytes(run_to_the_end(runner, group))


@pytest.mark.parametrize(
    ("one_sampler", "other"),
    [
        ("ddpm", "ddpm"),
        ("unipc", "ddpm"),
        ("unipc", "dpmpp"),
        ("ipndm", "unipc"),
        ("dpmpp", "ipndm"),
    ],
)
def test_a_chain_that_joins_later_and_one_that_waits_have_the_states_of_the_plain_loop(
    runner: Runner, one_sampler: SamplerName, other: SamplerName
) -> None:
    (first,) = chains(Submit("a", "", 1, (0,), None, one_sampler, 6))
    (second,) = chains(Submit("b", "", 1, (1,), None, other, 6))
    states: dict[Chain, list[Tensor]] = {first: [], second: []}
    order = [[first], [first, second], [second], [second, first], [first], [first, second]]
    order += [[first], [second], [second]]
    for group in order:
        for chain, step in zip(group, advance(runner, group), strict=True):
            states[chain].append(step.x_t.clone())
            if chain.position == 6:
                states[chain].append(step.x_prev.clone())
    check_bytes(states)


def test_a_guided_chain_has_a_second_row_without_its_label(
    runner: Runner, runtime: ToyRuntime
) -> None:
    plain = chains(Submit("a", "", 1, (0,), (1,), "ddim", 4))
    guided = chains(Submit("b", "", 1, (1, 2), (2, 0), "ddim", 8, guidance=2.0))
    call = runner.prepare(Batch.with_machine(NETWORK, plain + guided), None)
    runner.run(call)
    assert (call.rows, call.size) == (5, 8)
    ((x_t, t, label),) = runtime.calls
    assert label.tolist()[:5] == [1, 2, 0, NULL_LABEL, NULL_LABEL]
    assert torch.equal(x_t[3:5], x_t[1:3])
    assert t[3:5].tolist() == t[1:3].tolist()


@pytest.mark.parametrize(("rows", "size"), [(1, 2), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_a_batch_is_padded_with_its_last_row_to_the_next_size(
    runner: Runner, runtime: ToyRuntime, rows: int, size: int
) -> None:
    submit = Submit("a", "", 1, tuple(range(rows)), (1,) * rows, "ddim", 4)
    call = runner.prepare(Batch.with_machine(NETWORK, chains(submit)), None)
    runner.run(call)
    assert call.out is not None
    assert (call.rows, call.size, len(call.out)) == (rows, size, size)
    ((x_t, t, label),) = runtime.calls
    assert label is not None
    assert len(x_t) == len(t) == len(label) == size
    assert all(torch.equal(extra, x_t[rows - 1]) for extra in x_t[rows:])
    runner.finish(call)
    assert len(runner) == rows


def test_on_a_lane_a_batch_has_its_share_of_the_size(runtime: ToyRuntime) -> None:
    runtime.lanes = lanes = ToyLanes()
    runner = Runner(runtime, SIZES, SHAPE, CLIP, None)
    assert runner.num_lanes == 2
    first, second = one(0, steps=3), one(1, steps=3)
    for _ in range(3):
        advance(runner, [first], lane=0)
        advance(runner, [second], lane=1)
    assert lanes.calls == [(0, 1), (1, 1)] * 3
    assert not runtime.calls
    advance(runner, [one(2)], lane=None)
    assert len(runtime.calls) == 1, "the whole machine is no lane"


def test_a_chain_that_is_no_number_is_told_from_the_others(runner: Runner) -> None:
    group = [one(0), one(1), one(2)]
    call = runner.prepare(Batch.with_machine(NETWORK, group), None)
    runner.run(call)
    call.out[1, 0, 0, 0] = math.nan
    assert runner.finish(call).bad == {group[1]: 1}


def test_what_leaves_are_the_states_that_are_shown_and_the_images(runner: Runner) -> None:
    (shown, other) = chains(Submit("a", "", 1, (0, 1), None, "ddim", 2, shown=(1, 2)))
    other.job = one().job  # which shows nothing
    expected, made = reference(shown), []
    for _ in range(2):
        call = runner.prepare(Batch.with_machine(NETWORK, [shown, other]), None)
        runner.run(call)
        made.append(runner.finish(call))
        shown.position += 1
        other.position += 1
    assert not made[0].frames and not made[0].results
    (frame,) = made[1].frames
    assert (frame.chain, frame.position) == (shown, 1)
    assert frame.x_t == expected[1].numpy().tobytes()
    assert made[1].results == {shown: expected[2].numpy().tobytes()}


def test_the_states_of_finished_and_cancelled_chains_are_forgotten(runner: Runner) -> None:
    begun, other = one(0), one(1)
    advance(runner, [begun, other])
    assert len(runner) == 2
    runner.forget([begun, one(2)])
    assert len(runner) == 1
    advance(runner, [other])
    assert len(runner) == 1


def test_a_chain_that_leaves_a_batch_does_not_keep_the_others_in_memory(runner: Runner) -> None:
    leaves, stays = one(0), one(1)
    together = weakref.ref(advance(runner, [leaves, stays])[0].batch.x_prev)
    assert together() is not None, "while they are together their states are one tensor"
    advance(runner, [stays])
    gc.collect()
    assert together() is None
    advance(runner, [leaves, stays])  # and its own state is still there
    assert leaves.position == 2


def test_chains_that_stay_together_are_not_copied(runner: Runner) -> None:
    group = [one(0), one(1)]
    last = advance(runner, group)[0].batch.x_prev
    call = runner.prepare(Batch.with_machine(NETWORK, group), None)
    assert call.x_t is last


def test_a_call_that_has_not_been_run_cannot_be_finished(runner: Runner) -> None:
    call = runner.prepare(Batch.with_machine(NETWORK, [one()]), None)
    with pytest.raises(RuntimeError, match="has not been run"):
        runner.finish(call)


def test_after_memory_ran_out_batches_are_at_most_half_as_large(runner: Runner) -> None:
    sizes = []
    while runner.halve():
        sizes.append(runner.batch_sizes)
    assert sizes == [(2, 4), (2,), (1,)]
    assert runner.max_rows == 1


def test_a_model_without_labels_is_given_none(runner: Runner, runtime: ToyRuntime) -> None:
    advance(runner, [one()])
    assert runtime.calls[0][2] is None
