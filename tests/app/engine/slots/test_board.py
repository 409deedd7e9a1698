"""Chains that have slots on a device have the bytes of Algorithm 2 as a plain loop, however late
the device is, and however many steps a batch has."""

import dataclasses
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from app.engine.slots.buffers import MAX_STEPS
from app.wire.messages import Done, Failed, Finished, Frame, Submit
from tests.app.engine.slots.conftest import (
    CLIP,
    NULL_LABEL,
    PROCESS,
    Desk,
    assert_as_the_plain_loop,
    toy,
    toy_with_v,
)
from tests.app.engine.slots.fake_queue import FakeQueue
from tests.app.engine.starts import cases, states

JOBS = [
    Submit("ddpm", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 50),
    Submit("large", "", 1, (7,), (0,), "ddpm", 50, variance="fixed_large"),
    Submit("guided", "", 1, (0, 1, 2), (0, 1, 2), "ddim", 10, guidance=2.5),
    Submit("interval", "", 1, (5, 6), (0, 1), "ddim", 10, guidance=2.5, guided=(3, 6)),
    Submit("eta", "", 2**53 - 1, (2**40,), (2,), "ddim", 10, eta=0.5, client="other"),
    Submit("dpmpp", "", 1, (0, 3), (1, 1), "dpmpp", 6),
    Submit("unipc", "", 1, (0, 1), (1, 0), "unipc", 8),
    Submit("ipndm", "", 4, (2, 3, 4), (1, 2, 0), "ipndm", 9),
    Submit("one", "", 3, (0,), (0,), "dpmpp", 1),
]
WHENS: tuple[Literal["at once", "late", "random"], ...] = ("at once", "late", "random")


def images(events: list[Any]) -> dict[tuple[str, int], bytes]:
    return {(e.id, e.index): e.x_0 for e in events if isinstance(e, Finished)}


def check(desk: Desk, events: list[Any], jobs: list[Submit]) -> None:
    assert images(events) == desk.images(jobs)
    assert len(desk.board) == 0 and desk.engine.is_idle


@pytest.mark.parametrize("submit", JOBS, ids=lambda submit: submit.id)
def test_a_job_alone_equals_the_plain_loop(desk: Desk, submit: Submit) -> None:
    desk.engine.submit(submit)
    check(desk, desk.drain(), [submit])


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize(("depth", "steps"), [(1, 1), (2, 1), (2, 4), (3, 16)])
def test_jobs_that_join_while_others_run_equal_the_plain_loop(
    when: Literal["at once", "late", "random"], depth: int, steps: int
) -> None:
    desk = Desk(queue=FakeQueue(when), depth=depth, steps=steps)
    events: list[Any] = []
    for submit in JOBS:
        desk.engine.submit(submit)
        for _ in range(2):
            events += desk.step()
    check(desk, events + desk.drain(), JOBS)


def test_a_learned_variance_equals_the_plain_loop() -> None:
    desk = Desk(model=toy_with_v, steps=4)
    learned = Submit("learned", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 50, variance="learned_range")
    jobs = [
        learned,
        dataclasses.replace(learned, id="guided", guidance=1.5),
        dataclasses.replace(learned, id="fixed", variance="fixed_small", steps=9),
    ]
    for submit in jobs:
        desk.engine.submit(submit)
    check(desk, desk.drain(), jobs)


def test_of_many_steps_a_chain_may_end_at_any() -> None:
    jobs = [Submit(f"{n}", "", n, (0,), (0,), "ddpm", n) for n in range(1, MAX_STEPS + 2)]
    desk = Desk(steps=MAX_STEPS, sizes=(32,))
    for submit in jobs:
        desk.engine.submit(submit)
    check(desk, desk.drain(), jobs)


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("steps", [1, 4])
def test_frames_are_the_states_of_the_chain_wherever_they_are_shown(
    when: Literal["at once", "late", "random"], steps: int
) -> None:
    desk = Desk(queue=FakeQueue(when), steps=steps)
    some = Submit("some", "", 1, (4, 5), (0, 1), "ddim", 10, shown=(0, 3, 10))
    every = Submit("every", "", 2, (0, 1, 2, 3), (0,) * 4, "ddpm", 7, shown=tuple(range(8)))
    none = Submit("none", "", 3, (0,), (0,), "ddim", 10)
    for submit in (some, every, none):
        desk.engine.submit(submit)
    events = desk.drain()
    check(desk, events, [some, every, none])
    for submit in (some, every):
        expected = desk.states(submit)
        shown = [e for e in events if isinstance(e, Frame) and e.id == submit.id]
        assert {(e.index, e.position): e.x_t for e in shown} == {
            (index, position): expected[index][position]
            for index in submit.indices
            for position in submit.shown
            if position < submit.steps
        }
    assert not any(isinstance(e, Frame) and e.id == "none" for e in events)
    ends = [i for i, e in enumerate(events) if isinstance(e, Done)]
    assert len(ends) == 3 and isinstance(events[-1], Done)


def test_a_row_that_is_no_number_fails_its_job_at_that_step_and_no_other() -> None:
    def damaged(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        hit = (t == 24) & (label == 2)  # the sixth of ten steps
        return torch.where(hit[:, None, None, None], torch.nan, toy(x_t, t, label))

    desk = Desk(model=damaged, queue=FakeQueue("late"), steps=4)
    broken = Submit("broken", "", 1, (65, 66), (0, 2), "ddim", 10)
    others = [JOBS[2], JOBS[5]]
    others = [dataclasses.replace(s, labels=(0,) * len(s.indices)) for s in others]
    for submit in (others[0], broken, others[1]):
        desk.engine.submit(submit)
    events = desk.drain()
    (failed,) = [event for event in events if event.id == "broken"]
    assert failed == Failed("broken", "sample 66 is not a number after step 6 of 10")
    check(desk, events, others)


@pytest.mark.parametrize("when", WHENS)
def test_a_slot_is_used_again_straight_after_a_job_was_cancelled(
    when: Literal["at once", "late", "random"],
) -> None:
    desk = Desk(queue=FakeQueue(when), num_slots=8, steps=4)
    desk.engine.submit(Submit("gone", "", 9, tuple(range(8)), (0,) * 8, "ipndm", 50))
    desk.step()
    desk.engine.cancel("gone")
    assert len(desk.board) == 0, "though a batch with it is under way"
    again = Submit("gone", "", 3, tuple(range(8)), (1,) * 8, "ipndm", 20)
    desk.engine.submit(again)
    check(desk, desk.drain(), [again])


def test_a_job_that_waits_goes_on_where_it_was() -> None:
    desk = Desk(queue=FakeQueue("late"), steps=4)
    desk.engine.submit(JOBS[6])
    desk.engine.submit(JOBS[7])
    events = desk.step()
    desk.engine.pause("unipc", paused=True)
    events += [event for _ in range(4) for event in desk.step()]
    desk.engine.pause("unipc", paused=False)
    check(desk, events + desk.drain(), [JOBS[6], JOBS[7]])


def test_more_chains_than_slots_wait_for_one() -> None:
    desk = Desk(num_slots=3, steps=4)
    jobs = [Submit(n, "", 1, tuple(range(5)), (0,) * 5, "ddim", 6, client=n) for n in "ab"]
    for submit in jobs:
        desk.engine.submit(submit)
    check(desk, desk.drain(), jobs)


def test_what_another_chain_left_in_a_slot_is_not_seen_even_if_it_is_no_number() -> None:
    desk = Desk(num_slots=1)
    desk.board._states.x.fill_(torch.inf)
    desk.board._states.past.fill_(torch.nan)
    jobs = [JOBS[5], JOBS[7]]
    for submit in jobs:
        desk.engine.submit(submit)
    check(desk, desk.drain(), jobs)


def test_without_runs_ahead_sizes_are_halved_when_memory_runs_out() -> None:
    desk = Desk(depth=1)
    assert not desk.board.can_repeat and not desk.board.halve(), "a device that works by itself"
    desk.board.queue.runs_ahead = False
    assert desk.board.can_repeat and desk.board.halve()
    assert desk.board.max_rows == 4 and not desk.board.halve()
    desk.engine.scheduler.limit(desk.network, 4)
    desk.engine.submit(JOBS[0])
    check(desk, desk.drain(), [JOBS[0]])


def test_the_null_row_of_a_chain_has_the_null_label() -> None:
    seen: list[list[int]] = []

    def noted(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        seen.append(label.numpy().tolist())
        return toy(x_t, t, label)

    desk = Desk(model=noted)
    desk.engine.submit(Submit("a", "", 1, (0,), (1,), "ddim", 4))
    desk.engine.submit(Submit("b", "", 1, (1, 2), (2, 0), "ddim", 8, guidance=2.0))
    desk.step()
    assert seen[-1][:5] == [1, 2, 0, NULL_LABEL, NULL_LABEL]


@pytest.mark.parametrize("steps", [1, 4])
def test_chains_that_begin_elsewhere_and_keep_a_part_have_the_bytes_of_the_plain_loop(
    steps: int,
) -> None:
    assert_as_the_plain_loop(Desk(steps=steps))


def test_of_more_chains_with_a_mask_than_there_is_room_for_the_rest_wait() -> None:
    """A batch has up to two rows here, so that four may have begun."""
    desk = Desk(sizes=(2,))
    (case,) = (case for case in cases(desk.shape) if case.submit.id == "mask")
    many = dataclasses.replace(case.submit, indices=tuple(range(9)), labels=(0,) * 9)
    desk.engine.submit(many)
    made = {e.index: e.x_0 for e in desk.drain() if isinstance(e, Finished)}
    expected = states(case._replace(submit=many), PROCESS, desk.model, desk.shape, None, CLIP)
    assert made == {index: of_chain[-1] for index, of_chain in expected.items()}
