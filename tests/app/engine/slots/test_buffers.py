"""The memory of a device that keeps states."""

import torch

from app.engine.slots.buffers import PLAN, Form, Row, States, StepBuffers

CPU = torch.device("cpu")


def test_rows_that_are_no_chains_have_places_of_their_own() -> None:
    states = States.zeros(num_slots=5, max_rows=4, num_places=8, D=6, device=CPU)
    assert (len(states.x), len(states.past), len(states.ring)) == (5 + 4, 5 + 4, 8 + 4)


def test_a_step_has_a_column_for_each_row() -> None:
    form = Form((1, 2, 3), out_channels=2, is_conditional=True, null_label=0)
    buffers = StepBuffers.zeros(4, form, CPU)
    assert buffers.told.rows.shape == (len(Row), 4)
    assert buffers.told.plan.shape[1:] == (4, PLAN)
    assert buffers.network.x_t.shape == (4, 1, 2, 3) and buffers.network.out.shape == (4, 2, 2, 3)
    assert buffers.network.label is not None


def test_a_network_without_labels_is_given_none() -> None:
    form = Form((1, 2, 3), out_channels=1, is_conditional=False, null_label=None)
    assert StepBuffers.zeros(4, form, CPU).network.label is None


def test_what_the_host_tells_is_the_same_there_and_on_the_device() -> None:
    form = Form((1, 2, 3), out_channels=1, is_conditional=False, null_label=None)
    told = StepBuffers.zeros(4, form, CPU).told
    same = told.map(lambda x: x + 1)
    assert same.rows.shape == told.rows.shape and same.clock.item() == 1
