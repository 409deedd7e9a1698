"""The tables of samplers, made once for all jobs that ask for the same."""

import dataclasses
from typing import Any

import pytest
import torch

from app.engine.tables import sampler_tables
from app.wire.messages import Submit
from diffusion.config import ProcessConfig
from diffusion.process import Process
from diffusion.samplers import make_table
from diffusion.spacing import Spacing

PROCESS = Process.from_config(ProcessConfig(num_timesteps=50))
SUBMIT = Submit("a", "", 7, (0,), None, "ddim", 10)


def test_it_is_the_samplers_table_for_what_the_job_asks() -> None:
    expected = make_table(PROCESS, "ddim", 10, eta=0.5)
    made = sampler_tables(PROCESS)(dataclasses.replace(SUBMIT, eta=0.5))
    assert torch.equal(made.t, expected.t) and made.paper_t == expected.paper_t
    for ours, theirs in zip(made.coefficients, expected.coefficients, strict=True):
        assert torch.equal(ours, theirs)


def test_a_list_of_timesteps_takes_the_place_of_the_number_of_steps() -> None:
    kept = (4, 9, 49)
    made = sampler_tables(PROCESS)(dataclasses.replace(SUBMIT, steps=3, kept=kept))
    assert len(made) == 3
    expected = make_table(PROCESS, "ddim", Spacing(kept))
    assert made.paper_t == expected.paper_t and torch.equal(made.t, expected.t)


def test_jobs_that_ask_for_the_same_share_a_table() -> None:
    table = sampler_tables(PROCESS)
    same = dataclasses.replace(SUBMIT, id="b", seed=8, indices=(5, 6), client="c", guidance=2.0)
    assert table(SUBMIT) is table(same)


@pytest.mark.parametrize(
    "fields",
    [{"sampler": "dpmpp"}, {"steps": 9}, {"eta": 1.0}, {"variance": "fixed_large"},
     {"kept": (4, 9, 49)}],
    ids=str,
)  # fmt: skip
def test_jobs_that_ask_for_something_else_do_not(fields: dict[str, Any]) -> None:
    table = sampler_tables(PROCESS)
    assert table(SUBMIT) is not table(dataclasses.replace(SUBMIT, **fields))


def test_each_process_has_tables_of_its_own() -> None:
    other = Process.from_config(ProcessConfig(num_timesteps=50, schedule="cosine"))
    assert sampler_tables(PROCESS)(SUBMIT) is not sampler_tables(other)(SUBMIT)


def test_a_sampler_that_cannot_begin_where_the_process_does_is_refused() -> None:
    zero_snr = ProcessConfig(50, "cosine", zero_terminal_snr=True, prediction="v")
    table = sampler_tables(Process.from_config(zero_snr))
    assert len(table(SUBMIT)) == 10
    with pytest.raises(ValueError, match="unipc"):
        table(dataclasses.replace(SUBMIT, sampler="unipc"))
