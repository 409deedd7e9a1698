"""From an engine's events to a request's answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from app.generation.collect import Needs, Result, gather, shown, timing
from app.generation.errors import JobFailed
from app.generation.formats import ARRAYS, IMAGES
from app.generation.plan import Plan, plan
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.settings import Settings
from app.wire.messages import Done, Event, Failed, Finished, Frame
from diffusion import pixels
from tests.model_info import MODEL

SHAPE = MODEL.image_shape
DONE = Done("job", 0.12345678, 2.0)


def sample_plan(**fields: Any) -> Plan:
    return plan(SampleRequest(seed=1, **fields), MODEL, Settings())


def trajectory_plan(**fields: Any) -> Plan:
    return plan(TrajectoryRequest(seed=1, sampler="ddim", **fields), MODEL, Settings())


def picture(*key: int) -> np.ndarray:
    """An image that belongs to the key alone."""
    return np.random.default_rng(key).standard_normal(SHAPE, np.float32)


def frame(index: int, position: int) -> Frame:
    x_t, x_0_hat = picture(index, position, 0), picture(index, position, 1)
    return Frame("job", index, position, x_t.tobytes(), x_0_hat.tobytes())


def finished(index: int) -> Finished:
    return Finished("job", index, picture(index).tobytes())


def gathered(asked: Plan, *events: Event, needs: Needs = IMAGES) -> Result:
    async def stream() -> AsyncIterator[Event]:
        for event in events:
            yield event

    return asyncio.run(gather(asked, stream(), needs))


def test_each_image_is_in_the_place_of_its_index_whatever_came_first() -> None:
    asked = sample_plan(n=3, first_index=5)
    result = gathered(asked, finished(7), finished(5), finished(6), DONE)
    assert result.plan is asked
    expected = [pixels.to_uint8(picture(index)) for index in (5, 6, 7)]
    assert np.array_equal(result.x_0, np.stack(expected))


def test_the_times_are_told_in_microseconds_by_the_contracts_names() -> None:
    assert timing(DONE) == {"queued_s": 0.123457, "compute_s": 2.0}
    assert gathered(sample_plan(), finished(0), DONE).timing == timing(DONE)


def test_each_frame_is_in_the_place_of_its_t_and_the_last_is_the_result() -> None:
    asked = trajectory_plan(n=2, steps=4, frames=3)
    assert asked.submit.shown == (0, 2, 4)
    events: list[Event] = [
        frame(1, 0),
        frame(0, 0),
        frame(0, 2),
        finished(0),
        frame(1, 2),
        finished(1),
        DONE,
    ]
    result = gathered(asked, *events, needs=ARRAYS)
    assert result.x_t.shape == (2, 3, *SHAPE)
    for index in (0, 1):
        for k, position in enumerate((0, 2)):
            assert np.array_equal(result.x_t[index, k], picture(index, position, 0))
            assert np.array_equal(result.x_0_hat[index, k], picture(index, position, 1))
        assert np.array_equal(result.x_t[index, 2], picture(index))
        assert np.array_equal(result.x_0_hat[index, 2], picture(index))
    as_pixels = gathered(asked, *events, needs=Needs(x_0=True, x_t=True, x_0_hat=True))
    assert np.array_equal(as_pixels.x_t, pixels.to_uint8(result.x_t))
    assert np.array_equal(as_pixels.x_0_hat, pixels.to_uint8(result.x_0_hat))
    assert np.array_equal(as_pixels.x_0, as_pixels.x_t[:, -1])


def test_what_nobody_needs_is_not_kept() -> None:
    asked = trajectory_plan(n=2, steps=4, frames=2)
    events: list[Event] = [frame(0, 0), finished(0), frame(1, 0), finished(1), DONE]
    states = gathered(asked, *events, needs=Needs(x_t=True))
    assert states.x_t.dtype == np.uint8
    assert (states.x_0.size, states.x_0_hat.size) == (0, 0)


def test_the_result_is_no_frame_where_t_0_is_not_shown() -> None:
    asked = trajectory_plan(steps=4, timesteps=[100])
    assert shown(asked, finished(0)) is None
    result = gathered(asked, frame(0, 0), finished(0), DONE, needs=ARRAYS)
    assert np.array_equal(result.x_t[0], picture(0, 0, 0)[None])
    assert result.x_t.shape == (1, 1, *SHAPE)


def test_a_frame_is_named_by_the_papers_t() -> None:
    asked = trajectory_plan(first_index=9, steps=4, frames=3)
    frames = [shown(asked, event) for event in (frame(9, 0), frame(9, 2), finished(9))]
    assert [(shown.index, shown.t) for shown in frames] == [
        (9, 100),
        (9, asked.shown_times[1]),
        (9, 0),
    ]
    assert 0 < asked.shown_times[1] < 100


def test_a_failed_job_raises_the_engines_reason() -> None:
    with pytest.raises(JobFailed, match="^not a number$"):
        gathered(sample_plan(n=2), finished(0), Failed("job", "not a number"), finished(1))


def test_events_that_end_without_done_are_a_failure() -> None:
    with pytest.raises(JobFailed, match="ended the request early"):
        gathered(sample_plan(), finished(0))
