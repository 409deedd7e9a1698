"""Noise made ahead is the noise of the samples, whenever and beside whatever it is taken."""

import pytest
import torch
from torch import Tensor

from app.engine import noise_ahead
from app.engine.job import Chain, Job
from app.engine.noise_ahead import AHEAD, Draw, NoiseAhead
from diffusion import noise
from diffusion.config import ProcessConfig
from diffusion.process import Process
from diffusion.samplers import make_table
from tests.app.engine.networks import network

SHAPE = (1, 4, 4)
SEED, LAST = 7, 20


def chain(index: int) -> Chain:
    table = make_table(Process.from_config(ProcessConfig(num_timesteps=LAST + 1)), "ddpm", LAST + 1)
    assert table.last_draw == LAST
    job = Job("job", num_steps=LAST + 1, seed=SEED, network=network(), table=table)
    return Chain(job, index, None)


def expected(index: int, number: int) -> Tensor:
    seed, at, draw = (torch.tensor([value]) for value in (SEED, index, number))
    return noise.normal(seed, at, draw, shape=SHAPE)[0]


@pytest.fixture
def made() -> NoiseAhead:
    return NoiseAhead(SHAPE, torch.device("cpu"))


def test_every_draw_is_that_of_its_sample_and_number(made: NoiseAhead) -> None:
    first, second = chain(0), chain(5)
    for number in range(LAST + 1):
        wanted = [Draw(first, number)]
        if number >= 3:  # the second joins, and runs behind
            wanted.append(Draw(second, number - 3))
        for draw, z in zip(wanted, made.take(wanted), strict=True):
            assert torch.equal(z, expected(draw.chain.index, draw.number))


def test_a_step_that_is_taken_again_has_the_same_noise(made: NoiseAhead) -> None:
    again = [Draw(chain(0), 4)]
    assert torch.equal(*(made.take(again)[0] for _ in range(2)))


def test_several_are_made_at_once_but_none_beyond_the_last(
    made: NoiseAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    normal = noise.normal

    def counted(seeds: Tensor, indices: Tensor, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
        calls.append(numbers.tolist())
        return normal(seeds, indices, numbers, shape)

    monkeypatch.setattr(noise, "normal", counted)
    one = chain(0)
    for number in range(LAST + 1):
        made.take([Draw(one, number)])
    assert [len(numbers) for numbers in calls] == [AHEAD, AHEAD, LAST + 1 - 2 * AHEAD]
    assert sum(calls, []) == list(range(LAST + 1))


def test_of_large_images_one_is_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_ahead, "MAX_NUMBERS", 8)
    made, one = NoiseAhead(SHAPE, torch.device("cpu")), chain(0)
    made.take([Draw(one, 0)])
    assert not made._made[one]


def test_a_chain_that_is_forgotten_leaves_nothing(made: NoiseAhead) -> None:
    chains = [chain(0), chain(1)]
    made.take([Draw(one, 0) for one in chains])
    assert len(made) == 2
    for one in chains:
        made.forget(one)
    assert len(made) == 0
