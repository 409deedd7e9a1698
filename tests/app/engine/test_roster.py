"""What stays the same while a batch has the same chains; `test_beginning` has what comes of it."""

import torch

from app.engine.job import Chain, Job
from app.engine.roster import Roster
from app.engine.steps_ahead import StepsAhead
from diffusion.config import ProcessConfig
from diffusion.inversion import inversion
from diffusion.process import Process
from diffusion.samplers import make_table
from diffusion.spacing import Spacing
from tests.app.engine.networks import network

PROCESS = Process.from_config(ProcessConfig(num_timesteps=50))
DOWN = make_table(PROCESS, "ddim", 4)
UP = inversion(PROCESS, Spacing.even(50, 4))
SHAPE = (1, 2, 2)


def roster(*tables: object, guidance: float = 0.0) -> Roster:
    chains = []
    for table in tables:
        job = Job(
            "job", 4, range(4) if guidance else range(0), guidance=guidance, network=network(),
            table=table,  # type: ignore[arg-type]
        )  # fmt: skip
        chains.append(Chain(job, 0, 1))
    ahead = StepsAhead.of(
        [chain.job.table for chain in chains], [0] * len(chains), torch.device("cpu")
    )
    return Roster.of(chains, ahead, SHAPE, clip=1.0, null_label=3)


def test_guided_chains_have_a_second_row_without_the_label() -> None:
    made = roster(DOWN, DOWN, guidance=1.5)
    assert made.label is not None and made.label.tolist() == [1, 1, 3, 3]
    assert made.guided is not None
    assert made.guided.w.tolist() == [1.5, 1.5]


def test_where_nothing_is_known_of_any_image_nothing_is_gathered() -> None:
    assert roster(DOWN, UP).known is None
