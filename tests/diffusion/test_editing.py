"""Where the chains of a request begin, through `sampling`: what is made, and what is refused."""

import re

import pytest
import torch
from torch import Tensor

from diffusion import noise
from diffusion.editing import (
    BetweenPictures,
    BetweenSeeds,
    FromPicture,
    FromState,
    Mask,
    Start,
    StartError,
)
from diffusion.guidance import Conditioning
from diffusion.reverse import sample
from diffusion.sampling import Request, RequestError, Source, generate
from tests.tiny import save_tiny

SHAPE = (1, 8, 8)
T = 50


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source.open(save_tiny(tmp_path_factory.mktemp("editing") / "tiny"), "cpu", "eager")


def picture(seed: int = 0, count: int = 1) -> Tensor:
    """Pictures with whole grey levels."""
    levels = torch.randint(256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 127.5 - 1


def half() -> Tensor:
    """Keep the upper half, make the lower one anew."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[:, :, 4:] = 1
    return mask


def ddim(
    n: int, start: Start | None = None, mask: Mask | None = None, first_index: int = 0
) -> Request:
    return Request(3, n, first_index, sampler="ddim", num_steps=10, start=start, mask=mask)


def visited(source: Source, request: Request) -> list[int]:
    """The code's t that the network is told of, for one sample."""
    told: list[int] = []

    def spy(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        told.append(int(t[0]))
        return source.model(x_t, t, label)

    generate(Source(source.checkpoint, source.process, spy, source.device, "eager"), request)
    return told


def test_from_a_picture_the_chain_takes_the_kept_timesteps_up_to_t(source: Source) -> None:
    start = FromPicture(x_0=picture(), t=23)
    assert visited(source, ddim(1)) == [49, 44, 39, 34, 29, 24, 19, 14, 9, 4]
    assert visited(source, ddim(1, start)) == [19, 14, 9, 4]
    at_all = FromPicture(x_0=picture(), t=T)
    assert visited(source, ddim(1, at_all)) == visited(source, ddim(1))


def test_the_less_noise_the_more_is_left_of_the_picture(source: Source) -> None:
    x_0 = picture()
    far = [
        (generate(source, ddim(1, FromPicture(x_0=x_0, t=t))) - x_0).square().mean().item()
        for t in (5, 15, 50)
    ]
    assert far == sorted(far)


def test_a_sample_with_a_start_is_the_same_in_any_batch(source: Source) -> None:
    x_0 = picture(count=3)
    start = FromPicture(x_0=x_0, t=30)
    whole = generate(source, ddim(3, start, Mask(half(), 2, 2)))
    in_parts = generate(source, ddim(3, start, Mask(half(), 2, 2)), 2)
    torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-5)
    last = FromPicture(x_0=x_0[2:], t=30)
    alone = generate(source, ddim(1, last, Mask(half(), 2, 2), first_index=2))
    torch.testing.assert_close(alone[0], whole[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resamplings", [1, 3])
def test_what_a_mask_keeps_comes_back_exactly(source: Source, resamplings: int) -> None:
    x_0 = picture()
    made = generate(source, ddim(2, FromPicture(x_0=x_0), Mask(half(), resamplings, 3)))
    assert torch.equal(made[:, :, :4], x_0[:, :, :4].expand(2, -1, -1, -1))
    assert not torch.equal(made[0, :, 4:], made[1, :, 4:])


def test_a_mask_costs_the_rows_of_its_course(source: Source) -> None:
    start = FromPicture(x_0=picture())
    assert len(visited(source, ddim(1, start, Mask(half(), 3, 4)))) == 10 + 2 * 4 * 2
    below = FromPicture(x_0=picture(), t=23)
    assert len(visited(source, ddim(1, below, Mask(half(), 3, 3)))) == 4 + 2 * 3 * 1


def test_with_a_list_of_weights_only_the_weight_differs(source: Source) -> None:
    """So the ends are the pictures, or the seeds, by themselves, with the noise of index 0."""
    pair = picture(count=2)
    made = generate(source, ddim(3, BetweenPictures(x_0=pair, weights=(0.0, 0.5, 1.0), t=30)))
    for k, x_0 in ((0, pair[:1]), (2, pair[1:])):
        alone = generate(source, ddim(1, FromPicture(x_0=x_0, t=30)))
        torch.testing.assert_close(made[k], alone[0], rtol=1e-4, atol=1e-5)
    shape = SHAPE
    seeds = BetweenSeeds(seeds=(3, 4), weights=(0.0, 0.5, 1.0), image_shape=shape)
    made = generate(source, ddim(3, seeds))
    torch.testing.assert_close(made[0], generate(source, ddim(1))[0], rtol=1e-4, atol=1e-5)
    alone = generate(source, Request(4, 1, sampler="ddim", num_steps=10))
    torch.testing.assert_close(made[2], alone[0], rtol=1e-4, atol=1e-5)


def test_with_one_weight_each_sample_has_its_own_noise(source: Source) -> None:
    pair = picture(count=2)
    made = generate(source, ddim(2, BetweenPictures(x_0=pair, weights=(0.5,), t=30)))
    assert not torch.equal(made[0], made[1])


def test_a_state_goes_on_as_if_it_had_come_that_far_by_itself(source: Source) -> None:
    whole = generate(source, ddim(1))
    table = ddim(1).table(source.process, "fixed_small", {})
    one = torch.tensor([3])
    states = list(sample(source.model, table, one, 0 * one, SHAPE, Conditioning(None)))
    (at,) = (state for state in states if state.t == 30)
    rest = generate(source, ddim(1, FromState(x_t=at.x_t, t=30)))
    torch.testing.assert_close(rest, whole)
    assert torch.equal(states[0].x_t, noise.normal(one, 0 * one, 0 * one, SHAPE))


X_0 = picture()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ddim(1, FromPicture(x_0=X_0)), "t: None is not allowed: without a mask it must say"),
        (ddim(1, FromPicture(x_0=X_0, t=0)), "t: 0 is not allowed: it must be 1..50"),
        (ddim(1, FromPicture(x_0=X_0, t=51)), "t: 51 is not allowed: it must be 1..50"),
        (
            ddim(1, FromPicture(x_0=X_0, t=4)),
            "t: 4 is not allowed: the chain's lowest kept timestep is 5; give a higher t",
        ),
        (
            ddim(3, FromPicture(x_0=picture(count=2), t=4)),
            "start_image: 2 is not allowed: give one, or one for each of the n = 3 images",
        ),
        (
            ddim(1, FromPicture(x_0=torch.zeros(1, 1, 8, 9), t=4)),
            "start_image: (1, 8, 9) is not allowed: for this model it must be (1, 8, 8)",
        ),
        (
            ddim(1, BetweenPictures(x_0=picture(count=2), weights=(0.5,))),
            "t: None is not allowed: it must say how far the pictures are noised",
        ),
        (
            ddim(3, BetweenPictures(x_0=picture(count=2), weights=(0.5, 0.1), t=9)),
            "weights: [0.5, 0.1] is not allowed: give one, or one for each of the n = 3 images",
        ),
        (
            ddim(1, BetweenPictures(x_0=picture(count=2), weights=(float("nan"),), t=9)),
            "weights: [nan] is not allowed: each must be 0..1",
        ),
        (
            Request(3, 1, start=BetweenSeeds(seeds=(1, 2), weights=(0.5,), image_shape=SHAPE)),
            "seeds: [1, 2] is not allowed: they need a sampler without noise: ddim with eta 0",
        ),
        (
            ddim(1, BetweenSeeds(seeds=(-1, 2), weights=(0.5,), image_shape=SHAPE)),
            "seeds: [-1, 2] is not allowed: they must be 0..9007199254740991",
        ),
        (
            ddim(1, FromState(x_t=X_0, t=32)),
            "t: 32 is not allowed: the chain does not keep it; the nearest t that it keeps is 30",
        ),
        (
            ddim(1, FromState(x_t=X_0, t=1)),
            "t: 1 is not allowed: the chain does not keep it; the nearest t that it keeps is 5",
        ),
        (
            ddim(1, FromState(x_t=X_0 / 0)),
            "start_x_t: 'NaN or infinity' is not allowed: all of it must be numbers",
        ),
        (
            ddim(1, None, Mask(half())),
            "mask: 'given' is not allowed: it keeps part of start_image, which is not given",
        ),
        (
            Request(3, 1, sampler="dpmpp", start=FromPicture(x_0=X_0), mask=Mask(half())),
            "mask: 'given' is not allowed: it applies to ddpm and ddim, not to dpmpp",
        ),
        (
            ddim(1, FromPicture(x_0=X_0), Mask(torch.ones(1, 1, 4, 4))),
            "mask: (1, 4, 4) is not allowed: for this model it must be (1, 8, 8)",
        ),
        (
            ddim(1, FromPicture(x_0=X_0), Mask(half(), resamplings=21)),
            "resamplings: 21 is not allowed: it must be 1..20",
        ),
        (
            ddim(1, FromPicture(x_0=X_0), Mask(half(), 2, jump=0)),
            "jump: 0 is not allowed: it must be 1 or more",
        ),
        (
            ddim(1, FromPicture(x_0=X_0, t=23), Mask(half(), 2, jump=4)),
            "jump: 4 is not allowed: it must be less than the 4 steps of the chain",
        ),
        (
            ddim(1, FromPicture(x_0=X_0, t=6), Mask(half(), 2, jump=1)),
            "resamplings: 2 is not allowed: it must be 1: the chain has a single step",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field_and_the_reason(
    source: Source, request_: Request, message: str
) -> None:
    with pytest.raises((StartError, RequestError), match=re.escape(message)):
        request_.check(source.checkpoint)
