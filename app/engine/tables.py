"""The samplers' tables of one network's process, kept for the next job that asks for the same."""

from collections.abc import Callable
from functools import lru_cache, partial

from app.wire.messages import Submit
from diffusion.bound_steps import bound_table
from diffusion.config import Variance
from diffusion.inversion import inversion
from diffusion.process import Process
from diffusion.repaint import repaint
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table
from diffusion.spacing import SamplerName, Spacing

MAX_TABLES, MAX_LONG_TABLES = 256, 16
"""Tables that are kept; and of those of RePaint, which may be twenty times as long."""


def sampler_tables(process: Process) -> Callable[[Submit], SamplerTable]:
    """What gives the table that a job asks for. It raises ValueError where the process has none of
    that kind."""

    made = lru_cache(MAX_TABLES)(partial(make_table, process))
    encoding = lru_cache(MAX_TABLES)(partial(inversion, process))
    bounding = lru_cache(MAX_LONG_TABLES)(partial(bound_table, process))

    @lru_cache(MAX_LONG_TABLES)
    def repainted(
        sampler: SamplerName,
        steps: int | Spacing,
        eta: float,
        variance: Variance,
        resamplings: int,
        jump: int,
    ) -> SamplerTable:
        table = made(sampler, steps, eta=eta, variance=variance)
        return repaint(table, process, resamplings, jump)

    def table(submit: Submit) -> SamplerTable:
        if submit.bound is not None:
            return bounding(submit.variance)
        steps = submit.steps if submit.kept is None else Spacing(submit.kept)
        if submit.is_encoding:
            T = process.num_timesteps
            return encoding(Spacing.even(T, steps) if isinstance(steps, int) else steps)
        sampler, eta, variance, start = submit.sampler, submit.eta, submit.variance, submit.start
        if start is None or start.mask is None or start.resamplings == 1:
            return made(sampler, steps, eta=eta, variance=variance)
        return repainted(sampler, steps, eta, variance, start.resamplings, start.jump)

    return table
