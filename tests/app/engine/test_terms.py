"""Terms of the bound on an engine are those of `diffusion.bound`, whatever else is in the batch."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.board import Board
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.slots.buffers import Form
from app.engine.slots.start import make_board, open_device
from app.wire.bound import Bound
from app.wire.messages import Measured, Submit
from diffusion.bound import Draw, Reverse, prior
from diffusion.bound_sum import Terms
from diffusion.picture_bound import measure
from diffusion.pixels import to_model
from tests.app.engine.conftest import Bench, finished
from tests.app.engine.starts import cases, states
from tests.tiny import save_tiny

COUNT = 7
SPREAD = Terms(COUNT)


def pictures(shape: tuple[int, int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, *shape), generator=draw, dtype=torch.uint8)


def job(bench: Bench, bound_of: Terms = SPREAD, **fields: Any) -> Submit:
    raw = tuple(picture.numpy().tobytes() for picture in pictures(bench.shape))
    bound = Bound(raw, bound_of.count, bound_of.timesteps)
    n = len(raw) * bound.count
    labels = tuple(1 + i // bound.count for i in range(n))
    submit = Submit(
        "bound", "", 5, tuple(range(n)), labels, "ddpm", 1, shown=(0,), bound=bound
    )  # fmt: skip
    return dataclasses.replace(submit, **fields)


def expected(bench: Bench, submit: Submit) -> list[Draw]:
    x_0, labels = to_model(pictures(bench.shape)), torch.tensor([1, 2])
    assert submit.bound is not None
    terms = Terms(submit.bound.count, submit.bound.timesteps)
    reverse = Reverse(bench.model, bench.process, submit.variance, bench.checkpoint.process.clip)
    return list(measure(reverse, x_0, labels, terms, seed=submit.seed))


def check(bench: Bench, submit: Submit, made: list[Measured]) -> None:
    """Each term equals that of the science, to the error of float32."""
    found = {event.index: event for event in made}
    assert sorted(found) == list(submit.indices) and len(made) == len(found)
    priors = prior(bench.process, to_model(pictures(bench.shape)))
    assert submit.bound is not None
    for j, draw in enumerate(expected(bench, submit)):
        for picture in range(2):
            event = found.get(picture * submit.bound.count + j)
            if event is None:
                continue
            assert (event.t, event.weight) == (int(draw.t[picture]) + 1, draw.weight)
            assert event.nats == pytest.approx(float(draw.term.nats[picture]), rel=1e-4, abs=1e-3)
            assert event.prior_nats == float(priors[picture])
            x_t = torch.frombuffer(bytearray(event.x_t), dtype=torch.float32)
            assert torch.equal(x_t, draw.term.x_t[picture].float().flatten())
            x_0_hat = torch.frombuffer(bytearray(event.x_0_hat), dtype=torch.float32)
            wanted = draw.term.x_0_hat[picture].float().flatten()
            assert torch.allclose(x_0_hat, wanted, atol=1e-4)


def measured(bench: Bench, *submits: Submit) -> list[Measured]:
    for submit in submits:
        bench.engine.submit(submit)
    return [event for event in bench.drain() if isinstance(event, Measured)]


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize(
    "terms", [Terms(COUNT), Terms(2, (1, 30)), Terms(50)], ids=["spread", "chosen", "all"]
)
def test_terms_are_those_of_the_science(conditional: Bench, variance: str, terms: Terms) -> None:
    submit = job(conditional, terms, variance=variance)
    check(conditional, submit, measured(conditional, submit))
    assert not len(conditional.runner)


def test_a_learned_variance_is_told_by_the_step(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, learned_range=True)
    bench = Bench(folder)
    submit = job(bench, variance="learned_range")
    check(bench, submit, measured(bench, submit))


def test_terms_join_the_batches_of_others_which_stay_as_they_are(conditional: Bench) -> None:
    bench = conditional
    case = cases(bench.shape)[0]
    bench.engine.submit(case.submit)
    bench.engine.submit(job(bench))
    events = bench.drain()
    check(bench, job(bench), [event for event in events if isinstance(event, Measured)])
    clip = bench.checkpoint.process.clip
    plain = states(case, bench.process, bench.runtime, bench.shape, None, clip, rows=4)
    assert finished(events, case.submit.id) == {i: x[-1] for i, x in plain.items()}


def test_a_part_of_the_terms_are_the_same_terms(conditional: Bench) -> None:
    whole = {event.index: event for event in measured(conditional, job(conditional))}
    places = [0, 3, 8, 13]
    some = measured(conditional, job(conditional).only(places))
    assert [event.index for event in some] == places
    for event in some:
        assert event == whole[event.index]


def test_slots_compute_them_too(conditional: Bench) -> None:
    bench = conditional
    clip = bench.checkpoint.process.clip
    form = Form(bench.shape, bench.checkpoint.unet.out_channels, True, None)
    device = open_device(torch.device("cpu"), clip)
    board: Board[Any] = make_board(device, bench.model, form, (8,))
    network = Network(
        "slots", board, LatencyCurve({8: 1.0}), bench.network.table, bench.network.begins
    )
    bench.engine.add(network)
    submit = job(bench, model="slots")
    check(bench, submit, measured(bench, submit))
    bench.engine.remove(network)


def test_on_lanes_they_are_the_same(on_lanes: Bench) -> None:
    submit = job(on_lanes)
    check(on_lanes, submit, measured(on_lanes, submit))
