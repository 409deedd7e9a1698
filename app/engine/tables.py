"""The samplers' tables of one network's process, kept for the next job that asks for the same."""

from collections.abc import Callable
from functools import lru_cache

from app.wire.messages import Submit
from diffusion.config import Variance
from diffusion.process import Process
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table
from diffusion.spacing import SamplerName, Spacing

MAX_TABLES = 256
"""Tables that are kept."""


def sampler_tables(process: Process) -> Callable[[Submit], SamplerTable]:
    """What gives the table that a job asks for. It raises ValueError where the process has none of
    that kind."""

    @lru_cache(MAX_TABLES)
    def made(
        sampler: SamplerName, steps: int | Spacing, eta: float, variance: Variance
    ) -> SamplerTable:
        return make_table(process, sampler, steps, eta=eta, variance=variance)

    def table(submit: Submit) -> SamplerTable:
        steps = submit.steps if submit.kept is None else Spacing(submit.kept)
        return made(submit.sampler, steps, submit.eta, submit.variance)

    return table
