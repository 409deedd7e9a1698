"""What the host knows of chains that have a slot."""

import random

import numpy as np
import pytest

from app.engine.job import Chain, Job
from app.engine.slots.buffers import COEFFICIENTS
from app.engine.slots.plans import Known, Plans
from app.engine.tables import sampler_tables
from app.wire.messages import Submit
from diffusion.config import ProcessConfig
from diffusion.process import Process
from tests.app.engine.networks import network

NETWORK = network()
NETWORK.table = sampler_tables(Process.from_config(ProcessConfig(num_timesteps=50)))


def job(steps: int = 5, chains: int = 1, guidance: float = 0.0) -> Job:
    submit = Submit(
        "job", "", 7, tuple(range(chains)), (1,) * chains, "ddim", steps, guidance=guidance,
        guided=(1, 3),
    )  # fmt: skip
    return Job.of(submit, NETWORK, now=0.0)


def only(job: Job) -> Chain:
    (chain,) = job.chains
    return chain


def test_a_chain_has_a_slot_with_what_is_known_of_it() -> None:
    plans, chain = Plans(4, 2, 1.0), only(job())
    assert plans.seat(chain) and plans.seat(chain), "it has one already"
    (slot,) = plans.slots([chain])
    known = plans.known[slot]
    assert (known[Known.SEED], known[Known.INDEX], known[Known.LABEL]) == (7, 0, 1)
    assert (known[Known.STEPS], known[Known.POSITION]) == (5, 0)
    assert len(plans) == 1


def test_without_an_empty_slot_there_is_none_until_a_chain_leaves() -> None:
    plans, (first, second, third) = Plans(2, 2, 1.0), job(chains=3).chains
    assert plans.seat(first) and plans.seat(second)
    assert not plans.seat(third)
    plans.leave(first)
    assert plans.seat(third)
    plans.leave(first)
    assert len(plans) == 2, "it has left already"


def test_the_next_steps_of_chains_are_those_of_their_tables() -> None:
    plans, short, long = Plans(4, 2, 1.0), only(job(2)), only(job(10))
    for chain in (short, long):
        plans.seat(chain)
    slots = plans.slots([long, short])
    plans.known[slots, Known.POSITION] = 4, 1
    steps = plans.steps(slots, 3)
    assert plans.t[steps].tolist() == [
        [long.job.table.t[k].item(), short.job.table.t[1].item()] for k in (4, 5, 6)
    ], "behind its last step a chain stays there"
    expected = long.job.table.rows[5].flatten().numpy()
    np.testing.assert_array_equal(plans.coefficients[steps][1, 0, :COEFFICIENTS], expected)


def test_guided_steps_have_the_weights_of_guidance_and_all_the_limit_of_x_0_hat() -> None:
    plans, chain = Plans(4, 2, 1.0), only(job(4, guidance=0.1))
    plans.seat(chain)
    weights = plans.coefficients[plans.steps(plans.slots([chain]), 4)[:, 0], COEFFICIENTS:]
    w = [[1.0, 0.0, 1.0], [1.1, 0.1, 1.0], [1.1, 0.1, 1.0], [1.0, 0.0, 1.0]]
    np.testing.assert_array_equal(weights, np.array(w, np.float32))


@pytest.mark.parametrize("seed", range(3))
def test_no_two_jobs_share_rows_and_rows_are_used_again(seed: int) -> None:
    noise, plans = random.Random(seed), Plans(1000, 2, 1.0)
    here: list[Job] = []
    for _ in range(300):
        if here and noise.random() < 0.5:
            gone = here.pop(noise.randrange(len(here)))
            plans.leave(only(gone))
        else:
            here.append(job(noise.randint(1, 50)))
            assert plans.seat(only(here[-1]))
        used: list[int] = []
        for each in here:
            rows = plans.steps(plans.slots(each.chains), each.num_steps)[:, 0]
            assert plans.t[rows].tolist() == each.table.t.tolist()
            used += rows.tolist()
        assert len(set(used)) == len(used)
    assert len(plans.t) <= 4 * 50 * 40
