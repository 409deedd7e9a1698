"""One step for rows of any sampler, and Algorithm 2 as a loop."""

import itertools

import pytest
import torch
from torch import Tensor

from diffusion import noise
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import Known, remember, sample, step, with_known
from diffusion.sampler_table import HISTORY, StepCoefficients
from diffusion.samplers import ddim, ddpm, dpmpp, ipndm, make_table, unipc
from diffusion.spacing import SamplerName
from tests.diffusion.chain import FULL, SHAPE, SHORT, T, draw


def test_the_estimate_is_clipped_before_the_mean_is_formed(process: Process) -> None:
    table = ddpm(process, FULL)
    x_t, eps = 3 * draw(1, *SHAPE).float(), draw(1, *SHAPE, seed=5).float()
    row = table.rows[[500]]
    clipped = step(x_t, eps, (), torch.zeros_like(x_t), row, clip=1.0)
    free = step(x_t, eps, (), torch.zeros_like(x_t), row, clip=None)
    assert clipped.x_0_hat.abs().max() == 1 < free.x_0_hat.abs().max()
    torch.testing.assert_close(clipped.x_0_hat, free.x_0_hat.clamp(-1, 1))
    c = StepCoefficients.of(row.double())
    mean = (c.c_x * x_t + c.c_0 * clipped.x_0_hat).float()
    torch.testing.assert_close(clipped.x_prev, mean)


def test_rows_of_different_samplers_in_one_batch_equal_separate_steps_by_bytes(
    process: Process,
) -> None:
    tables = [
        ddpm(process, FULL),
        ddim(process, SHORT, 0.3),
        dpmpp(process, SHORT),
        unipc(process, SHORT),
        ipndm(process, SHORT),
    ]
    rows = torch.stack([table.rows[k] for k, table in zip((17, 2, 3, 4, 3), tables, strict=True)])
    x_t, eps, z = (draw(5, *SHAPE, seed=s).float() for s in range(3))
    assert_rows_do_not_meet(x_t, eps, z, rows)


def test_the_same_where_one_of_them_uses_a_learned_variance_and_another_has_none_to_use(
    process: Process,
) -> None:
    learned, free = ddpm(process, FULL, "learned_range"), ddim(process, SHORT)
    rows = torch.stack([learned.rows[17], free.rows[2], learned.rows[-1]])
    x_t, eps, z = (draw(3, *SHAPE, seed=s).float() for s in range(3))
    z[1:] = 0  # the second and third add no noise
    v = draw(3, *SHAPE, seed=4).tanh().float()
    v[1:] = torch.nan  # and do not ask for its scale
    assert_rows_do_not_meet(x_t, torch.cat([eps, v], dim=1), z, rows)


def assert_rows_do_not_meet(x_t: Tensor, out: Tensor, z: Tensor, rows: Tensor) -> None:
    """Every row of the batch is a number, and has the bytes that it has alone: both the next state
    and what is remembered, as far as it counts."""
    history = [draw(*x_t.shape, seed=10 + j).float() for j in range(HISTORY)]
    together = step(x_t, out, history, z, rows)
    remembered = remember(x_t, together.x_0_hat, rows)
    assert together.x_prev.isfinite().all()
    c = StepCoefficients.of(rows)
    for i in range(len(rows)):
        one = slice(i, i + 1)
        depth = max((j for j, c_h in enumerate(c.c_h, start=1) if c_h[i]), default=0)
        own = [m[one] for m in history[:depth]]
        alone = step(x_t[one], out[one], own, z[one] if c.c_z[i] else None, rows[one])
        assert_same_bytes(together.x_prev[one], alone.x_prev)
        assert_same_bytes(together.x_0_hat[one], alone.x_0_hat)
        if c.p_x[i]:
            assert_same_bytes(remembered[one], remember(x_t[one], alone.x_0_hat, rows[one]))
        else:
            assert torch.equal(remembered[one], alone.x_0_hat)


def assert_same_bytes(one: Tensor, other: Tensor) -> None:
    assert torch.equal(one.view(torch.int32), other.view(torch.int32)), "-0 is not 0"


def test_the_same_where_one_of_them_is_minus_zero_and_another_has_noise(process: Process) -> None:
    noisy, free = ddpm(process, FULL), ddim(process, SHORT)
    rows = torch.stack([noisy.rows[17], free.rows[2]])
    x_t, eps, z = (draw(2, *SHAPE, seed=s).float() for s in range(3))
    x_t[1], eps[1], z[1] = -0.0, 0.0, 0.0
    assert_rows_do_not_meet(x_t, eps, z, rows)


def test_what_a_sampler_remembers_in_another_row_does_not_reach_one_that_remembers_x_0_hat(
    process: Process,
) -> None:
    """A batch of both computes p_x x_t + p_0 x_0_hat for all rows; alone, x_0_hat is taken as it
    is. An x_0_hat of -0 must then lead to the same next state."""
    rows = torch.stack([dpmpp(process, SHORT).rows[2], ipndm(process, SHORT).rows[2]])
    x_t, out = (draw(2, *SHAPE, seed=s).float() for s in range(2))
    x_0_hat = torch.full_like(x_t, -0.0)
    mixed = remember(x_t, x_0_hat, rows)
    for m in (mixed, x_0_hat):
        made = step(x_t[:1], out[:1], [m[:1]], None, rows[:1])
        assert_same_bytes(made.x_prev, step(x_t[:1], out[:1], [x_0_hat[:1]], None, rows[:1]).x_prev)


def network(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
    """Some eps_hat that depends on x_t and t."""
    return 0.9 * x_t + 1e-4 * t[:, None, None, None]


def test_the_loop_visits_every_state_once_from_noise_to_image(process: Process) -> None:
    table = make_table(process, "ddim", 5)
    seeds = torch.tensor([1, 1])
    states = list(
        sample(
            network,
            table,
            seeds,
            torch.tensor([0, 1]),
            SHAPE,
            Conditioning(None),
        )
    )
    assert [state.t for state in states] == [1000, 800, 600, 400, 200, 0]
    assert torch.equal(states[-1].x_t, states[-1].x_0_hat)
    alone = list(
        sample(
            network,
            table,
            seeds[:1],
            torch.tensor([1]),
            SHAPE,
            Conditioning(None),
        )
    )
    assert torch.equal(alone[-1].x_t[0], states[-1].x_t[1]), "sample 1 can be made alone"


def test_the_loop_asks_the_network_twice_for_guidance(process: Process) -> None:
    asked: list[list[int]] = []

    def model(x_t: Tensor, _t: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        asked.append(label.tolist())
        return x_t * label[:, None, None, None]

    table = make_table(process, "ddim", 1)
    one = torch.tensor([0])
    condition = Conditioning(torch.tensor([1]), 2.0, null_label=3)
    first, _ = sample(model, table, one, one, SHAPE, condition, clip=None)
    assert asked == [[1], [3]]
    eps = (1 + 2) * first.x_t - 2 * 3 * first.x_t
    a, b = process.alpha_bar[-1].sqrt().item(), (1 - process.alpha_bar[-1]).sqrt().item()
    torch.testing.assert_close(first.x_0_hat, (first.x_t - b * eps) / a)
    with pytest.raises(ValueError, match="guidance: needs a label"):
        next(sample(model, table, one, one, SHAPE, Conditioning(one, 2.0)))


@pytest.mark.parametrize("sampler", ["dpmpp", "unipc", "ipndm"])
def test_the_loop_gives_each_step_what_the_steps_before_remember(
    process: Process, sampler: SamplerName
) -> None:
    table = make_table(process, sampler, 7)
    one = torch.tensor([0])
    states = list(sample(network, table, one, one, SHAPE, Conditioning(None)))
    history: list[Tensor] = []
    for k, (now, after) in enumerate(itertools.pairwise(states)):
        c = StepCoefficients.of(table.rows[[k]].double())
        expected = c.c_x * now.x_t + c.c_0 * now.x_0_hat
        for c_h, m in zip(c.c_h, history, strict=False):
            expected = expected + c_h * m
        torch.testing.assert_close(after.x_t, expected.float())
        history.insert(0, (c.p_x * now.x_t + c.p_0 * now.x_0_hat).float())


def test_rows_that_are_not_clipped_share_a_batch_with_others_that_are(process: Process) -> None:
    rows = torch.stack([ddpm(process, FULL).rows[10], ddim(process, SHORT).rows[1]])
    x_t, eps = (3 * draw(2, *SHAPE, seed=s).float() for s in range(2))
    limits = torch.tensor([1.0, torch.inf])[:, None, None, None]
    together = step(x_t, eps, (), None, rows, limits)
    for i, clip in enumerate((1.0, None)):
        one = slice(i, i + 1)
        alone = step(x_t[one], eps[one], (), None, rows[one], clip)
        assert_same_bytes(together.x_prev[one], alone.x_prev)
        assert_same_bytes(together.x_0_hat[one], alone.x_0_hat)


def test_a_row_without_a_known_part_keeps_its_bytes_beside_one_that_has_it(
    process: Process,
) -> None:
    rows = torch.stack([ddpm(process, FULL).rows[17], ddim(process, SHORT).rows[2]])
    x_t, eps, x_0, w = (draw(2, *SHAPE, seed=s).float() for s in range(4))
    x_next = step(x_t, eps, (), torch.zeros_like(x_t), rows).x_prev
    mask = torch.ones(2, 1, *SHAPE[1:])
    mask[0, :, :2] = 0
    mask[0, :, 2] = 0.25
    found = with_known(x_next, Known(x_0, mask), w, rows)
    assert_same_bytes(found[1], x_next[1])
    c = StepCoefficients.of(rows[:1].double())
    t = FULL[T - 1 - 17].item() - 1  # that of the next state
    a, b = process.alpha_bar[t].sqrt().item(), (1 - process.alpha_bar[t]).sqrt().item()
    assert c.k_0.item() == pytest.approx(a) and c.k_z.item() == pytest.approx(b)
    drawn = a * x_0[0] + b * w[0]  # eq. 4
    torch.testing.assert_close(found[0, :, :2], drawn[:, :2])
    mixed = 0.25 * x_next[0, :, 2] + 0.75 * drawn[:, 2]
    torch.testing.assert_close(found[0, :, 2], mixed)
    assert torch.equal(found[0, :, 3], x_next[0, :, 3])


def test_the_known_part_has_a_stream_of_noise_of_its_own(process: Process) -> None:
    table, one = make_table(process, "ddpm", 5), torch.tensor([3])
    x_0, mask = torch.zeros(1, *SHAPE), torch.zeros(1, 1, *SHAPE[1:])
    states = list(
        sample(network, table, one, one, SHAPE, Conditioning(None), known=Known(x_0, mask))
    )
    for k, state in enumerate(states[1:]):
        w = noise.normal(one, one, torch.tensor([noise.KNOWN + k + 1]), SHAPE)
        sigma = (1 - process.alpha_bar[state.t - 1]).sqrt().float() if state.t else 0.0
        torch.testing.assert_close(state.x_t, sigma * w)


def test_a_chain_begins_where_it_is_told_to(process: Process) -> None:
    table, one = make_table(process, "ddim", 3), torch.tensor([0])
    start = draw(1, *SHAPE).float()
    first, *_ = sample(network, table, one, one, SHAPE, Conditioning(None), start=start)
    assert torch.equal(first.x_t, start)
