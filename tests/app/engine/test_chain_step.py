"""What a step did, to a batch and to each of its chains."""

import gc
import weakref

import torch

from app.engine.chain_step import BatchStep


def batch_step(history: int = 0) -> BatchStep:
    """Of two chains."""
    x_t, x_0_hat, x_prev, *m = torch.arange(2.0 * (3 + history)).reshape(3 + history, 2, 1, 1, 1)
    return BatchStep(x_t, x_0_hat, x_prev, [True, False], m)


def test_each_chain_has_its_row_of_what_the_step_did_to_the_batch() -> None:
    whole = batch_step()
    first, second = whole.of_each()
    assert torch.equal(torch.stack([first.x_t, second.x_t]), whole.x_t)
    assert torch.equal(torch.stack([first.x_0_hat, second.x_0_hat]), whole.x_0_hat)
    assert torch.equal(torch.stack([first.x_prev, second.x_prev]), whole.x_prev)
    assert (first.is_finite, second.is_finite) == (True, False)


def test_a_chain_knows_what_its_steps_remember_as_far_back_as_its_batches_looked() -> None:
    whole = batch_step(history=2)
    _, second = whole.of_each()
    for j in range(2):
        remembered = second.remembered(j)
        assert remembered is not None and torch.equal(remembered, whole.history[j][1])
    assert second.remembered(2) is None


def test_a_copy_is_the_same_without_the_other_chains() -> None:
    whole = batch_step(history=2)
    _, second = whole.of_each()
    copy = second.copy()
    for name in ("x_t", "x_0_hat", "x_prev"):
        assert torch.equal(getattr(copy, name), getattr(second, name))
    assert [m.tolist() for m in copy.batch.history] == [m[1:].tolist() for m in whole.history]
    assert copy.is_finite is False
    kept = weakref.ref(whole.x_prev)
    del whole, second, _
    gc.collect()
    assert kept() is None
