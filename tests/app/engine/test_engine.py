"""The engine against the plain loop of `diffusion.reverse`, byte for byte."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.engine.runner import NetworkCall
from app.wire.messages import Done, Failed, Limited, Submit
from tests.app.engine.conftest import ROW_FAULTS, Bench, break_for, finished, frames
from tests.tiny import save_tiny

JOBS = [
    Submit("ddpm", "", 1, (0, 1, 2), None, "ddpm", 50),
    Submit("large", "", 1, (7,), None, "ddpm", 50, variance="fixed_large"),
    Submit("short", "", 2, (0, 1), None, "ddpm", 7),
    Submit("ddim", "", 1, (0, 1, 2, 3, 4), None, "ddim", 10),
    Submit("eta", "", 2**53 - 1, (2**40,), None, "ddim", 10, eta=0.5),
    Submit("dpmpp", "", 1, (0, 3), None, "dpmpp", 6),
    Submit("one", "", 3, (0,), None, "dpmpp", 1),
    Submit("unipc", "", 1, (0, 1), None, "unipc", 8),
    Submit("ipndm", "", 4, (2, 3, 4), None, "ipndm", 9),
    Submit("spaced", "", 4, (2, 3), None, "ddim", 4, kept=(0, 3, 20, 49)),
]


@pytest.mark.parametrize("submit", JOBS, ids=lambda submit: submit.id)
def test_a_job_alone_equals_the_plain_loop(unconditional: Bench, submit: Submit) -> None:
    unconditional.engine.submit(submit)
    made = finished(unconditional.drain(), submit.id)
    expected = unconditional.reference(submit)
    assert made == {i: x[-1].tobytes() for i, x in expected.items()}


def test_jobs_of_all_samplers_in_one_batch_equal_the_plain_loop(unconditional: Bench) -> None:
    for submit in JOBS:
        unconditional.engine.submit(submit)
    events = unconditional.drain()
    for submit in JOBS:
        expected = unconditional.reference(submit)
        made = finished(events, submit.id)
        assert made == {i: x[-1].tobytes() for i, x in expected.items()}, submit.id


def test_jobs_that_join_while_others_run_change_nothing(unconditional: Bench) -> None:
    events = []
    for submit in JOBS:
        unconditional.engine.submit(submit)
        for _ in range(3):
            events += unconditional.step()
    events += unconditional.drain()
    for submit in JOBS:
        expected = unconditional.reference(submit)
        made = finished(events, submit.id)
        assert made == {i: x[-1].tobytes() for i, x in expected.items()}


def test_a_model_that_predicts_v_equals_the_plain_loop(tmp_path: Path) -> None:
    bench = Bench(save_tiny(tmp_path / "tiny", prediction="v"))
    bench.engine.submit(JOBS[3])
    expected = bench.reference(JOBS[3])
    made = finished(bench.drain(), JOBS[3].id)
    assert made == {i: x[-1].tobytes() for i, x in expected.items()}
    as_eps = Bench(save_tiny(tmp_path / "eps")).reference(JOBS[3])
    assert not np.array_equal(as_eps[0][-1], expected[0][-1])


@pytest.mark.parametrize("prediction", ["eps", "x_0"])
def test_a_model_that_learned_its_variance_equals_the_plain_loop(
    prediction: Any, tmp_path: Path
) -> None:
    folder = save_tiny(
        tmp_path / "tiny", num_classes=3, null_label=True, channels=3, learned_range=True,
        prediction=prediction,
    )  # fmt: skip
    bench = Bench(folder)
    learned = Submit("learned", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 50, variance="learned_range")
    jobs = [
        learned,
        dataclasses.replace(learned, id="guided", guidance=1.5),
        dataclasses.replace(learned, id="fixed", variance="fixed_small", steps=9),
        Submit("ddim", "", 1, (0,), (3,), "ddim", 8, eta=0.5),
    ]
    for submit in jobs:
        bench.engine.submit(submit)
    events = bench.drain()
    for submit in jobs:
        expected = bench.reference(submit)
        made = finished(events, submit.id)
        assert made == {i: x[-1].tobytes() for i, x in expected.items()}, submit.id


def test_guided_and_unlabelled_chains_share_a_batch(conditional: Bench) -> None:
    jobs = [
        Submit("guided", "", 1, (0, 1, 2), (0, 1, 2), "ddim", 10, guidance=2.5),
        Submit("plain", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 12),
        Submit("some", "", 1, (0, 1, 2), (0, 1, 2), "unipc", 9, guidance=2.5, guided=(2, 6)),
        Submit("null", "", 1, (0,), (3,), "dpmpp", 5),
    ]
    for submit in jobs:
        conditional.engine.submit(submit)
    events = conditional.drain()
    for submit in jobs:
        expected = conditional.reference(submit)
        made = finished(events, submit.id)
        assert made == {i: x[-1].tobytes() for i, x in expected.items()}


def test_frames_are_the_states_of_the_chain_with_the_estimate_at_that_very_state(
    unconditional: Bench,
) -> None:
    submit = Submit("a", "", 1, (4,), None, "ddim", 10, shown=(0, 3, 10))
    unconditional.engine.submit(submit)
    events = unconditional.drain()
    expected = unconditional.reference(submit)[4]
    shown = frames(events, "a")
    assert [frame.position for frame in shown] == [0, 3]
    for frame in shown:
        assert frame.x_t == expected[frame.position].tobytes()
    # eq. 15 at the state x_t, recomputed here in float64
    t = 50 - 1 - 3 * 5
    alpha_bar = unconditional.process.alpha_bar[t].item()
    x_t = unconditional.image(shown[1].x_t).astype(np.float64)
    eps = _eps(unconditional, expected[3], t)
    x_0_hat = np.clip((x_t - np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha_bar), -1, 1)
    np.testing.assert_allclose(unconditional.image(shown[1].x_0_hat), x_0_hat, atol=1e-4)
    assert finished(events, "a")[4] == expected[10].tobytes(), "the frame of the last position"


def _eps(bench: Bench, x_t: np.ndarray, t: int) -> np.ndarray:
    with torch.no_grad():
        batch = torch.from_numpy(x_t.copy())[None].expand(4, -1, -1, -1)
        return bench.model(batch, torch.full((4,), t))[0].numpy().astype(np.float64)


def test_a_job_ends_with_one_done_that_tells_its_times(unconditional: Bench) -> None:
    unconditional.engine.submit(Submit("a", "", 1, (0, 1), None, "ddim", 5))
    unconditional.time = 10.0
    events = unconditional.drain()
    assert [e for e in events if isinstance(e, Done)] == [Done("a", 10.0 + 1.0, 4.0)]
    assert isinstance(events[-1], Done)


def test_a_cancelled_job_sends_nothing_more_and_leaves_nothing_behind(
    unconditional: Bench,
) -> None:
    engine = unconditional.engine
    engine.submit(Submit("a", "", 1, (0, 1), None, "ddim", 5))
    engine.submit(Submit("b", "", 1, (0,), None, "ddim", 5))
    unconditional.step()
    engine.cancel("a")
    engine.cancel("never was")
    events = unconditional.drain()
    assert {event.id for event in events} == {"b"}
    assert not len(unconditional.runner)


def test_a_finished_job_leaves_nothing_behind(unconditional: Bench) -> None:
    for submit in JOBS:
        unconditional.engine.submit(submit)
    unconditional.drain()
    assert not len(unconditional.runner)
    assert not unconditional.engine.scheduler.jobs


@ROW_FAULTS
def test_what_goes_wrong_in_one_row_fails_its_job_and_no_other(
    how: Any, reason: str, unconditional: Bench
) -> None:
    broken = Submit("broken", "", 1, (65, 66), None, "ddim", 10)
    others = [JOBS[0], JOBS[3]]
    for submit in (others[0], broken, others[1]):
        unconditional.engine.submit(submit)
    expected = [unconditional.reference(submit) for submit in others]
    break_for(unconditional, 66, how)
    events = unconditional.drain()
    assert [event for event in events if event.id == "broken"] == [Failed("broken", reason)]
    for submit, states in zip(others, expected, strict=True):
        made = finished(events, submit.id)
        assert made == {i: x[-1].tobytes() for i, x in states.items()}
    assert not len(unconditional.runner)


def test_a_job_that_can_never_run_fails_at_once_and_alone(unconditional: Bench) -> None:
    engine = unconditional.engine
    engine.submit(JOBS[0])
    engine.submit(dataclasses.replace(JOBS[0], id="x", steps=51))
    (failed,) = engine.take_events()
    assert failed == Failed("x", "steps: 51 is not allowed; it must be 1..50")
    assert finished(unconditional.drain(), "ddpm").keys() == {0, 1, 2}


def test_out_of_memory_the_step_is_run_in_smaller_batches_to_the_same_bytes(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = unconditional.engine, unconditional.runner
    sizes = []
    whole = type(runner.runtime).__call__

    def scarce(
        self: Any, x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None
    ) -> torch.Tensor:
        sizes.append(len(x_t))
        if len(x_t) > 4:
            raise torch.OutOfMemoryError("injected")
        return whole(self, x_t, t, label)

    submit = Submit("a", "", 3, tuple(range(7)), None, "ddpm", 10)
    monkeypatch.setattr(type(runner.runtime), "__call__", scarce)
    engine.submit(submit)
    events = unconditional.drain()
    assert [event for event in events if isinstance(event, Limited)] == [Limited("", 4)]
    assert sizes.count(8) == 1 and set(sizes) == {8, 4}
    monkeypatch.undo()
    expected = unconditional.reference(submit)
    made = finished(events, "a")
    assert made.keys() == expected.keys()
    for index, states in expected.items():
        np.testing.assert_array_equal(unconditional.image(made[index]), states[-1])


def test_a_chain_that_makes_room_for_others_keeps_no_memory_but_its_own(
    unconditional: Bench,
) -> None:
    engine = unconditional.engine
    engine.submit(Submit("long", "", 1, tuple(range(8)), None, "ddim", 40))
    unconditional.step()
    engine.submit(Submit("short", "", 2, (0, 1), None, "ddim", 2))
    unconditional.step()
    begun = [chain for chain in engine.scheduler.jobs["long"].chains if chain.position]
    held = [unconditional.runner._states[chain].x_prev for chain in begun]
    own = held[0].numel() * held[0].element_size()
    assert {x.untyped_storage().nbytes() for x in held} == {own, 8 * own}
    made = finished(unconditional.drain(), "long")
    expected = unconditional.reference(Submit("long", "", 1, tuple(range(8)), None, "ddim", 40))
    assert made == {i: x[-1].tobytes() for i, x in expected.items()}


def test_a_paused_job_sends_nothing_until_it_is_resumed(unconditional: Bench) -> None:
    engine = unconditional.engine
    engine.submit(Submit("a", "", 3, (0,), None, "ddim", 4))
    unconditional.step()
    engine.pause("a", paused=True)
    assert engine.is_idle
    engine.pause("a", paused=False)
    assert finished(unconditional.drain(), "a").keys() == {0}


def test_before_each_step_it_tells_where_every_job_is(unconditional: Bench) -> None:
    told: list[Any] = []
    unconditional.engine.on_step = lambda *told_of: told.append(told_of)
    unconditional.engine.submit(Submit("a", "", 3, (5, 6), None, "ddim", 2))
    unconditional.engine.submit(Submit("b", "", 3, (0,), None, "ddim", 1))
    unconditional.drain()
    assert told == [(1, [("b", 0, 0), ("a", 5, 0)]), (2, [("a", 5, 1)])]


def test_memory_that_runs_out_twice_in_a_step_halves_no_more_than_it_must(tmp_path: Path) -> None:
    bench = Bench(save_tiny(tmp_path / "tiny"))
    engine, runner = bench.engine, bench.runner
    runner.batch_sizes = (4, 8, 16)
    engine.scheduler.limit(bench.network, 16)
    whole = runner.run

    def scarce(call: NetworkCall) -> None:
        if call.rows > 4:
            raise torch.OutOfMemoryError("injected")
        whole(call)

    runner.run = scarce  # type: ignore[method-assign]
    engine.submit(Submit("a", "", 3, tuple(range(16)), None, "ddim", 3))
    events = bench.drain()
    assert [event for event in events if isinstance(event, Limited)] == [
        Limited("", 8),
        Limited("", 4),
    ]
    assert finished(events, "a").keys() == set(range(16))


def test_a_job_that_lost_its_time_to_other_engines_gives_way_no_longer(
    unconditional: Bench,
) -> None:
    engine = unconditional.engine
    short = Submit("short", "", 1, tuple(range(8)), None, "ddim", 3)
    long = Submit("long", "", 2, tuple(range(8)), None, "ddim", 20, waited=100.0)
    for submit in (long, short):
        engine.submit(submit)
    unconditional.step()
    assert {chain.position for chain in engine.scheduler.jobs["long"].chains} == {1}
    assert {chain.position for chain in engine.scheduler.jobs["short"].chains} == {0}
