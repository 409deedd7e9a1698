"""Chains that begin elsewhere than at noise have the bytes of the plain loop, beside any others."""

import dataclasses

import pytest

from app.wire.messages import Submit
from tests.app.engine.conftest import Bench, finished, frames
from tests.app.engine.starts import cases, states


@pytest.mark.slow
def test_chains_that_begin_elsewhere_and_keep_a_part_have_the_bytes_of_the_plain_loop(
    conditional: Bench,
) -> None:
    """Beside others, which stay as they are."""
    bench = conditional
    made = cases(bench.shape)
    ordinary = Submit("ordinary", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 8)
    for submit in (ordinary, *(case.submit for case in made)):
        bench.engine.submit(dataclasses.replace(submit, shown=(0, 2)))
    events = bench.drain()
    clip = bench.checkpoint.process.clip
    for case in made:
        name = case.submit.id
        expected = states(case, bench.process, bench.runtime, bench.shape, None, clip, rows=4)
        assert finished(events, name) == {i: x[-1] for i, x in expected.items()}, name
        for frame in frames(events, name):
            assert frame.x_t == expected[frame.index][frame.position], name
    reference = bench.reference(ordinary)
    assert finished(events, "ordinary") == {i: x[-1].tobytes() for i, x in reference.items()}
    assert not len(bench.runner)


def test_guidance_in_an_interval_holds_wherever_the_chain_goes_back_up(conditional: Bench) -> None:
    bench = conditional
    (case,) = (case for case in cases(bench.shape) if case.submit.id == "repaint")
    turns = dataclasses.replace(case.submit, guidance=1.5, guided=(0, 2, 3, 5))
    assert turns.guided_steps == frozenset({0, 1, 3, 4})
    assert turns.chain_rows == turns.steps + 4
    bench.engine.submit(turns)
    made = finished(bench.drain(), "repaint")
    clip, null_label = bench.checkpoint.process.clip, bench.checkpoint.card.null_label
    expected = states(
        case._replace(submit=turns), bench.process, bench.runtime, bench.shape, null_label, clip, 4
    )
    assert made == {i: x[-1] for i, x in expected.items()}
