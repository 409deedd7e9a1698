"""What every sampler is: a table of kept timesteps and coefficients."""

import numpy as np
import torch

from diffusion.process import Process
from diffusion.sampler_table import SamplerTable, StepCoefficients
from diffusion.samplers import ddim, ddpm, dpmpp, ipndm, unipc
from tests.diffusion.chain import FULL, SHORT, T


def test_coefficients_are_float64_until_the_end(process: Process) -> None:
    table = ddpm(process, FULL)
    assert {column.dtype for column in table.coefficients} == {torch.float64}
    assert table.rows.dtype == torch.float32
    expected = np.sqrt(np.cumprod(1 - np.linspace(1e-4, 0.02, T)))[::-1]
    np.testing.assert_allclose(table.rows[:, 0].flatten(), expected, rtol=1e-7)


def test_rows_have_the_columns_in_the_order_of_their_names(process: Process) -> None:
    table = ipndm(process, SHORT)
    assert table.rows.shape == (len(SHORT), len(StepCoefficients._fields), 1, 1, 1)
    named = StepCoefficients.of(table.rows)
    for name, column in table.coefficients._asdict().items():
        assert torch.equal(getattr(named, name).flatten(), column.float()), name


def test_a_table_knows_how_far_back_its_steps_look(process: Process) -> None:
    tables = [ddpm(process, SHORT), ddim(process, SHORT), dpmpp(process, SHORT)]
    tables += [unipc(process, SHORT), ipndm(process, SHORT)]
    assert [table.depth for table in tables] == [0, 0, 1, 3, 3]
    depths = [unipc(process, SHORT[:S]).depth for S in (1, 2, 3, 4)]
    assert depths == [0, 0, 1, 2], "the last step takes x_0_hat, and has nothing to correct"
    assert [table.remembers_mix for table in tables] == [False] * 4 + [True]


def test_what_is_left_out_is_zero_and_a_step_remembers_x_0_hat(process: Process) -> None:
    q = process.respace(SHORT)
    table = SamplerTable.over(q, torch.ones(6), torch.full((6,), 2.0))
    c = table.coefficients
    assert all(not column.any() for column in (*c.c_h, c.c_z, c.p_x, c.log_sigma_small))
    assert (c.p_0 == 1).all()
    assert table.t.tolist() == SHORT.flip(0).tolist(), "a chain runs from high to low t"


def test_it_knows_the_last_draw_of_noise_that_a_sample_needs(process: Process) -> None:
    assert ddpm(process, SHORT).last_draw == 5, "the last of the six steps adds none"
    assert ddim(process, SHORT).last_draw == 0


def test_it_knows_the_t_of_each_state_and_the_marginal_that_a_step_leads_to(
    process: Process,
) -> None:
    table = ddim(process, SHORT)
    assert table.paper_t == (1000, 641, 335, 334, 101, 1, 0)
    assert table.steps_within(641, 334) == {1, 2, 3}
    alpha_bar = [process.alpha_bar[t - 1].item() if t else 1.0 for t in table.paper_t[1:]]
    c = table.coefficients
    np.testing.assert_allclose(c.k_0.square(), alpha_bar, rtol=1e-12)
    np.testing.assert_allclose((c.k_0.square() + c.k_z.square()), 1, rtol=1e-12)
