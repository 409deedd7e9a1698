"""Where a request's chains begin: what is refused, and what engines are told."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.generation.errors import InvalidField
from app.generation.pictures import Pictures
from app.generation.plan import Plan, plan
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.generation.starts import decoded_bytes, read_start
from app.settings import Settings
from tests.app.generation.hostile_pictures import encoded
from tests.model_info import MODEL

pytestmark = pytest.mark.anyio


def picture(value: int, size: int = 8, mode: str = "RGB") -> str:
    colour = (value,) * 3 if mode == "RGB" else value
    return base64.b64encode(encoded(Image.new(mode, (size, size), colour))).decode()


def npy(*shape: int, value: float = 0.5, after: bytes = b"") -> str:
    file = io.BytesIO()
    np.save(file, np.full(shape, value, np.float32))
    file.write(after)
    return base64.b64encode(file.getvalue()).decode()


A, B, MASK = picture(0), picture(255), picture(255, mode="L")


@pytest.fixture
async def pictures() -> AsyncIterator[Pictures]:
    decoder = Pictures(workers=1)
    yield decoder
    await decoder.close()


async def planned(pictures: Pictures, **fields: Any) -> Plan:
    kind = TrajectoryRequest if {"frames", "timesteps"} & fields.keys() else SampleRequest
    request = kind.model_validate(fields)
    begun = await read_start(request, MODEL, pictures)
    return plan(request, MODEL, Settings(), begun=begun)


async def test_a_picture_is_noised_to_t_and_the_chain_takes_what_is_kept_up_to_it(
    pictures: Pictures,
) -> None:
    made = await planned(pictures, sampler="ddim", steps=10, start={"image": A, "t": 55})
    assert made.submit.kept == (9, 19, 29, 39, 49)
    assert (made.submit.steps, made.header["steps"]) == (5, 10)
    assert made.submit.start is not None
    assert made.submit.start.pictures == (bytes(192),)


async def test_a_variance_that_nobody_names_is_that_of_the_whole_chain(pictures: Pictures) -> None:
    start = {"image": A, "t": 50}
    assert (await planned(pictures, start=start)).submit.variance == "fixed_large"
    assert (await planned(pictures, start=start, steps=20)).submit.variance == "fixed_small"


async def test_every_step_of_repaint_counts(pictures: Pictures) -> None:
    fields: dict[str, Any] = {"sampler": "ddim", "steps": 10, "start": {"image": A}, "mask": MASK}
    once = (await planned(pictures, **fields)).submit
    assert once.steps == 10
    often = (await planned(pictures, **fields, resamplings=3, jump=2)).submit
    assert often.steps == 10 + 2 * 2 * 4
    assert often.cost == often.steps
    assert often.start is not None and often.start.mask == bytes([255]) * 64


async def test_frames_are_those_of_the_way_that_goes_back_up(pictures: Pictures) -> None:
    fields: dict[str, Any] = {
        "sampler": "ddim", "steps": 4, "start": {"image": A}, "mask": MASK, "resamplings": 2,
        "jump": 2,
    }  # fmt: skip
    made = await planned(pictures, **fields, frames=100)
    assert made.shown_times == (100, 75, 50, 75, 50, 25, 0)
    made = await planned(pictures, **fields, timesteps=[75, 0])
    assert (made.submit.shown, made.shown_times) == ((3, 6), (75, 0))
    made = await planned(pictures, **fields, labels=0, guidance=1.0, guidance_interval=[75, 75])
    assert made.submit.guided == (1, 2, 3, 4)


async def test_a_list_of_weights_shares_the_noise_of_one_sample(pictures: Pictures) -> None:
    pair: dict[str, Any] = {"images": [A, B], "t": 50}
    one = (await planned(pictures, n=2, start={**pair, "weight": 0.25})).submit.start
    assert one is not None and (one.weights, one.shares_noise) == ((0.25,), False)
    many = (await planned(pictures, n=2, start={**pair, "weight": [0, 1]})).submit.start
    assert many is not None and (many.weights, many.shares_noise) == ((0.0, 1.0), True)
    half = (await planned(pictures, start=pair)).submit.start
    assert half is not None and half.weights == (0.5,)


async def test_states_are_at_a_t_that_the_chain_keeps(pictures: Pictures) -> None:
    made = await planned(
        pictures, n=2, sampler="ddim", steps=10, start={"x_t": npy(2, 3, 8, 8), "t": 50}
    )
    assert made.submit.kept == (9, 19, 29, 39, 49)
    assert made.submit.start is not None
    assert made.submit.start.states == (np.full((3, 8, 8), 0.5, "<f4").tobytes(),) * 2


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"start": {}}, "start", "give exactly one of image, images, seeds, x_t"),
    ({"start": {"image": A, "x_t": npy(3, 8, 8), "t": 5}}, "start", "give exactly one"),
    ({"start": {"image": A}}, "start.t", "without a mask it must say"),
    ({"start": {"images": [A, B]}}, "start.t", "it must say how far pictures are noised, 1..100"),
    ({"start": {"image": A, "t": 101}}, "start.t", "T = 100"),
    ({"start": {"image": A, "t": 4}, "steps": 10}, "start.t", "lowest kept timestep is 10"),
    ({"start": {"image": [A, A], "t": 5}, "n": 3}, "start.image", "each of the n = 3"),
    ({"start": {"image": [A, "x"], "t": 5}, "n": 2}, "start.image[1]", "not base64"),
    ({"start": {"images": [A, "x"], "t": 5}}, "start.images[1]", "not base64"),
    ({"start": {"image": picture(0, 9), "t": 5}}, "start.image", "9 x 9 pixels"),
    ({"start": {"image": A, "t": 5, "weight": 0.5}}, "start.weight", "it needs start.images or"),
    ({"start": {"images": [A, B], "t": 5, "weight": [0.5]}, "n": 2}, "start.weight", "n = 2"),
    ({"start": {"seeds": [1, 2]}}, "start.seeds", "a sampler without noise"),
    ({"start": {"seeds": [1, 2]}, "sampler": "ddim", "eta": 0.1}, "start.seeds", "without noise"),
    ({"start": {"seeds": [1, 2**53]}, "sampler": "ddim"}, "start.seeds", "they must be 0.."),
    ({"start": {"seeds": [1, 2], "t": 5}, "sampler": "ddim"}, "start.t", "begin at T"),
    ({"start": {"seeds": [1, 2], "resize": True}}, "start.resize", "applies to pictures"),
    ({"start": {"x_t": npy(3, 8, 8), "t": 55}, "steps": 10}, "start.t", "nearest t that it keeps"),
    ({"start": {"x_t": npy(1, 8, 8), "t": 50}}, "start.x_t", "must be [3, 8, 8] each"),
    ({"start": {"x_t": npy(2, 3, 8, 8), "t": 50}, "n": 3}, "start.x_t", "n = 3"),
    ({"start": {"x_t": npy(3, 8, 8, value=np.nan), "t": 50}}, "start.x_t", "must be numbers"),
    ({"start": {"x_t": npy(3, 8, 8, value=np.inf), "t": 50}}, "start.x_t", "must be numbers"),
    ({"start": {"x_t": A, "t": 50}}, "start.x_t", "no .npz or .npy"),
    ({"start": {"x_t": npy(3, 8, 8, after=b"more"), "t": 50}}, "start.x_t", "bytes after the end"),
    ({"mask": MASK}, "mask", "start.image, which is not given"),
    ({"mask": MASK, "start": {"images": [A, B], "t": 5}}, "mask", "start.image"),
    ({"mask": MASK, "start": {"image": A}, "sampler": "unipc"}, "mask", "ddpm and ddim"),
    ({"mask": picture(0, 9), "start": {"image": A}}, "mask", "9 x 9"),
    ({"resamplings": 2}, "resamplings", "it needs a mask"),
    ({"jump": 3}, "jump", "it needs a mask"),
    (
        {"mask": MASK, "start": {"image": A}, "resamplings": 2, "jump": 10, "steps": 10},
        "jump",
        "less than the 10 steps",
    ),
    (
        {"mask": MASK, "start": {"image": A, "t": 10}, "resamplings": 2, "jump": 1, "steps": 10},
        "resamplings",
        "it must be 1: the chain has a single step",
    ),
]


async def test_what_does_not_fit_is_refused_with_field_and_reason(pictures: Pictures) -> None:
    for fields, name, reason in REFUSED:
        with pytest.raises(InvalidField) as error:
            await planned(pictures, **fields)
        assert (error.value.name, reason in error.value.reason) == (name, True), error.value


async def test_the_request_that_is_told_gives_the_same_job(pictures: Pictures) -> None:
    requests: list[dict[str, Any]] = [
        {"n": 2, "start": {"image": [A, B], "t": 50}, "seed": 1},
        {"start": {"image": picture(7, 16), "resize": True}, "mask": MASK, "resamplings": 2,
         "seed": 1, "steps": 20},
        {"n": 3, "start": {"images": [A, B], "t": 50, "weight": [0, 0.5, 1]}, "seed": 1},
        {"start": {"images": [A, B], "t": 50}, "seed": 1},
        {"n": 2, "start": {"seeds": [3, 4], "weight": 0.25}, "seed": 1, "sampler": "unipc"},
        {"start": {"x_t": npy(1, 3, 8, 8), "t": 50}, "seed": 1, "sampler": "ddim", "steps": 4},
        {"start": {"x_t": npy(3, 8, 8)}, "seed": 1, "sampler": "ddim", "spacing": [100, 30]},
    ]  # fmt: skip
    for fields in requests:
        first = await planned(pictures, **fields)
        again = await planned(pictures, **first.request)
        assert again.request == first.request
        assert again.submit.start == first.submit.start
        assert (again.submit.kept, again.submit.steps) == (first.submit.kept, first.submit.steps)


def test_what_a_start_takes_in_memory_is_known_before_it_is_read() -> None:
    def size(**fields: Any) -> int:
        return decoded_bytes(SampleRequest.model_validate(fields), MODEL)

    assert size() == 0
    assert size(start={"image": [A, B], "t": 5}) >= 2 * 192
    assert size(start={"x_t": npy(3, 8, 8)}) >= 3 * 8 * 8 * 4
