"""A step's two halves around the network: what they write, and that they can be recorded."""

from app.engine.slots.kernels import ReferenceKernels
from app.wire.messages import Submit
from tests.app.engine.slots.conftest import CLIP, Desk


def test_a_chain_enters_with_its_noise_and_leaves_with_its_next_state() -> None:
    desk = Desk(depth=1, sizes=(4,))
    submit = Submit("a", "", 1, (5,), (0,), "ddim", 4, shown=(1,))
    desk.engine.submit(submit)
    desk.step()
    expected = desk.states(submit)[5]
    network = desk.board._recorded[4].buffers.network
    assert network.x_t[0].numpy().tobytes() == expected[0]
    (slot,) = desk.board._plans.slots(desk.engine.scheduler.jobs["a"].chains)
    assert desk.board._states.x[slot].numpy().tobytes() == expected[1]


def test_padding_changes_no_chains_state() -> None:
    desk = Desk(depth=1, sizes=(8,), num_slots=2)
    desk.engine.submit(Submit("a", "", 1, (5,), (0,), "ddim", 4))
    other = desk.board._states.x[0].clone()
    desk.step()
    assert desk.board._states.x[2:].any(), "padding has been written to places of its own"
    used = desk.board._plans.slots(desk.engine.scheduler.jobs["a"].chains).tolist()
    (unused,) = {0, 1}.difference(used)
    assert desk.board._states.x[unused].equal(other)


def test_the_reference_is_made_of_operations_that_can_be_recorded() -> None:
    desk = Desk(kernels=ReferenceKernels(CLIP))  # whose queue records strictly
    assert len(desk.board._recorded) == 2
