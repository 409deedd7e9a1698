"""The samples of a job that one turn makes, as they come from the engine."""

from pathlib import Path

import numpy as np
import pytest

from app.generation.collect import image
from app.jobs.chunk import Chunk
from app.jobs.result_store import ResultStore, decode_image, decode_trajectory
from app.wire.messages import Finished, Frame
from diffusion import pixels
from tests.app.jobs.fakes import STEPS, events, make_job, make_plan, state


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    store = ResultStore(str(tmp_path))
    store.open()
    return store


def test_a_chunk_asks_the_engine_for_its_samples_under_an_id_of_its_own(
    results: ResultStore,
) -> None:
    plan = make_plan(n=5)
    chunk = Chunk(make_job(plan), plan, "m#2", [1, 3], results)
    assert chunk.submit.indices == (plan.submit.indices[1], plan.submit.indices[3])
    assert chunk.submit.seed == plan.submit.seed
    assert chunk.submit.id != plan.submit.id, "a job's turns may overlap in the engine"


def test_a_finished_image_is_a_file_at_once_and_known_by_its_number_and_checksums(
    results: ResultStore,
) -> None:
    plan = make_plan(n=5)
    job = make_job(plan)
    chunk = Chunk(job, plan, "m#2", [2], results)
    index = plan.submit.indices[2]
    x_0 = state(plan.submit.seed, index, STEPS)
    chunk.keep(Finished(chunk.submit.id, index, x_0))
    content = results.read(job.id, index)
    assert content is not None
    assert np.array_equal(decode_image(content), pixels.to_uint8(image(plan, x_0)))
    (kept,) = chunk.kept
    assert (kept.number, kept.size) == (2, len(content))


def test_frames_wait_for_the_end_of_their_sample_whichever_comes_first(
    results: ResultStore,
) -> None:
    plan = make_plan(n=2, shown=(0, 2, STEPS))
    job = make_job(plan)
    chunk = Chunk(job, plan, "m#2", [0, 1], results)
    told = list(events(chunk.submit))
    for frame in (event for event in told if isinstance(event, Frame)):
        chunk.show(frame)
    assert not chunk.kept
    for finished in (event for event in told if isinstance(event, Finished)):
        chunk.keep(finished)
    assert [kept.number for kept in chunk.kept] == [0, 1]
    for index in plan.submit.indices:
        content = results.read(job.id, index)
        assert content is not None
        x_t, x_0_hat = decode_trajectory(plan, content)
        for k, position in enumerate((0, 2)):
            assert x_t[k].tobytes() == state(plan.submit.seed, index, position)
            assert x_0_hat[k].tobytes() == state(plan.submit.seed, index, -1 - position)
        assert x_t[2].tobytes() == x_0_hat[2].tobytes() == state(plan.submit.seed, index, STEPS)
