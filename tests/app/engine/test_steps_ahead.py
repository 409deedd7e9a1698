"""What the next steps of a batch need to know."""

import pytest
import torch

from app.engine.steps_ahead import AHEAD, StepsAhead
from diffusion.config import ProcessConfig
from diffusion.process import Process
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table

CPU = torch.device("cpu")


@pytest.fixture
def tables() -> list[SamplerTable]:
    process = Process.from_config(ProcessConfig(num_timesteps=200))
    return [make_table(process, "ddpm", 150), make_table(process, "ddim", 20)]


def test_each_step_has_every_chain_at_its_own_position(tables: list[SamplerTable]) -> None:
    ahead = StepsAhead.of(tables, [5, 11], CPU)
    for h in range(9):
        at = [(tables[0], 5 + h), (tables[1], 11 + h)]
        assert ahead.find([k for _, k in at]) == h
        assert ahead.t[h].tolist() == [table.t[k].item() for table, k in at]
        assert torch.equal(ahead.rows[h], torch.stack([table.rows[k] for table, k in at]))
        assert ahead.is_noisy[h] is any(table.is_noisy[k] for table, k in at)


def test_it_looks_as_far_back_as_the_chain_that_looks_farthest() -> None:
    process = Process.from_config(ProcessConfig(num_timesteps=200))
    ddim, dpmpp, unipc, ipndm = (
        make_table(process, name, 10) for name in ("ddim", "dpmpp", "unipc", "ipndm")
    )
    for tables, depth, remembers_mix in (
        ([ddim], 0, False),
        ([ddim, dpmpp], 1, False),
        ([dpmpp, unipc, ddim], 3, False),
        ([ddim, ipndm], 3, True),
    ):
        ahead = StepsAhead.of(tables, [0] * len(tables), CPU)
        assert (ahead.depth, ahead.remembers_mix) == (depth, remembers_mix)


def test_it_ends_with_the_first_chain_that_does_and_does_not_look_far(
    tables: list[SamplerTable],
) -> None:
    ahead = StepsAhead.of(tables, [5, 11], CPU)
    assert len(ahead.t) == 9
    assert ahead.find([14, 20]) is None, "one chain is finished"
    assert len(StepsAhead.of(tables[:1], [0], CPU).t) == AHEAD


def test_chains_that_have_not_advanced_together_are_at_none_of_its_steps(
    tables: list[SamplerTable],
) -> None:
    ahead = StepsAhead.of(tables, [5, 11], CPU)
    assert ahead.find([6, 11]) is None
    assert ahead.find([4, 10]) is None
