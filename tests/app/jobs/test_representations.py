"""A stored result in every representation: the bytes of the synchronous answer."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from app.generation import encoding
from app.generation.collect import Result
from app.generation.plan import Plan
from app.jobs import representations
from app.jobs.errors import ResultTooLarge
from app.jobs.representations import PICTURES, STREAMS, Stored, load
from app.jobs.result_store import ResultStore, encode_image, encode_trajectory
from app.jobs.store import SampleIndex
from app.jobs.zip_stream import Body
from tests.app.jobs.fakes import STEPS, TIMING, make_plan, whole

PLAN = make_plan(n=3)
WITH_FRAMES = make_plan(n=3, shown=(0, 1, STEPS))
EXPECTED: dict[str, Callable[[Result], bytes]] = {
    "sample application/json": encoding.sample_json,
    "sample application/zip": encoding.sample_zip,
    "sample application/x-npz": encoding.sample_npz,
    "denoise-trajectory application/json": encoding.trajectory_json,
    "denoise-trajectory application/x-npz": encoding.trajectory_npz,
}


def stored(plan: Plan, results: ResultStore) -> Stored:
    """The plan's result, written as a worker does it."""
    result, rows = whole(plan), []
    for number, index in enumerate(plan.submit.indices):
        if plan.submit.shown:
            pairs = zip(result.x_t[number], result.x_0_hat[number], strict=True)
            frames = zip(plan.submit.shown, pairs, strict=True)
            found = encode_trajectory(plan, {p: (a.tobytes(), b.tobytes()) for p, (a, b) in frames})
        else:
            found = encode_image(result.x_0[number])
        results.write(plan.submit.id, index, found[0])
        rows.append((len(found[0]), *found[1:]))
    index_of_samples = SampleIndex(*np.array(rows, np.int64).T)
    kind = "denoise-trajectory" if plan.submit.shown else "sample"
    return Stored(kind, plan, TIMING, results, index_of_samples)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_stream_is_the_bytes_of_the_synchronous_answer(name: str, results: ResultStore) -> None:
    kind, media_type = name.split()
    plan = PLAN if kind == "sample" else WITH_FRAMES
    found = STREAMS[kind][media_type](stored(plan, results))  # type: ignore[index]
    content = b"".join(found.blocks(0, found.size) if isinstance(found, Body) else found)
    assert content == EXPECTED[name](whole(plan))


def test_json_is_sent_in_blocks(results: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representations, "BLOCK_BYTES", 100)
    blocks = list(representations.sample_json(stored(PLAN, results)))
    assert len(blocks) > 2
    assert len(json.loads(b"".join(blocks))["samples"]) == 3


@pytest.mark.parametrize("plan", [PLAN, WITH_FRAMES], ids=["images", "frames"])
def test_a_picture_is_made_of_the_whole_result(plan: Plan, results: ResultStore) -> None:
    kept = stored(plan, results)
    for encode in PICTURES[kept.kind].values():
        assert encode(load(kept, max_bytes=10_000)) == encode(whole(plan))


def test_a_picture_that_is_too_large_is_refused_with_the_limit(results: ResultStore) -> None:
    kept = stored(WITH_FRAMES, results)
    size = 3 * 3 * 2 * 4 * 4 * 4
    load(kept, max_bytes=size)
    with pytest.raises(ResultTooLarge, match=f"need {size} bytes; .* limit is {size - 1}"):
        load(kept, max_bytes=size - 1)
