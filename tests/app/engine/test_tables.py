"""The samplers' tables of a network."""

import pytest

from app.engine.tables import sampler_tables
from app.wire.messages import Submit
from diffusion.config import ProcessConfig
from diffusion.process import Process

PROCESS = Process.from_config(ProcessConfig(num_timesteps=50))


def test_a_table_is_made_once_for_all_jobs_that_ask_for_the_same() -> None:
    table = sampler_tables(PROCESS)
    one = table(Submit("a", "m", 1, (0,), None, "ddim", 10))
    assert len(one) == 10
    assert table(Submit("b", "m", 2, (5, 6), None, "ddim", 10, client="c")) is one
    assert table(Submit("c", "m", 1, (0,), None, "ddim", 10, eta=0.5)) is not one
    assert sampler_tables(PROCESS)(Submit("a", "m", 1, (0,), None, "ddim", 10)) is not one


def test_listed_timesteps_are_those_of_the_table() -> None:
    made = sampler_tables(PROCESS)(Submit("a", "m", 1, (0,), None, "ddim", 3, kept=(0, 9, 49)))
    assert made.t.tolist() == [49, 9, 0]


def test_what_the_process_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="steps: 51 is not allowed; it must be 1..50"):
        sampler_tables(PROCESS)(Submit("a", "m", 1, (0,), None, "ddim", 51))
