"""A stored result in every representation: the bytes of the synchronous answer."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from app.generation import encoding
from app.generation.collect import image
from app.generation.formats import ARRAYS
from app.generation.plan import Plan
from app.generation.zip_stream import Body
from app.jobs import representations
from app.jobs.errors import SampleLost, StorageUnavailable
from app.jobs.representations import PICTURES, STREAMS, Stored, memory_bytes, picture
from app.jobs.result_store import ResultStore, encode_image, encode_trajectory
from app.jobs.store import SampleIndex
from app.jobs.tables import Kind
from tests.app.jobs.fakes import STEPS, TIMING, answer, make_plan, state, whole

PLAN = make_plan(n=3)
WITH_FRAMES = make_plan(n=3, shown=(0, 1, STEPS))
STREAMED = [(kind, media_type) for kind, found in STREAMS.items() for media_type in found]


def plan_of(kind: Kind) -> Plan:
    return PLAN if kind == "sample" else WITH_FRAMES


def stored(plan: Plan, results: ResultStore) -> Stored:
    """The plan's result, written as a worker does it."""
    exact, rows = whole(plan, ARRAYS), []
    for number, index in enumerate(plan.submit.indices):
        if plan.submit.shown:
            pairs = zip(exact.x_t[number], exact.x_0_hat[number], strict=True)
            frames = zip(plan.submit.shown, pairs, strict=True)
            found = encode_trajectory(plan, {p: (a.tobytes(), b.tobytes()) for p, (a, b) in frames})
        else:
            found = encode_image(image(plan, state(7, index, STEPS)))
        results.write(plan.submit.id, index, found[0])
        rows.append((len(found[0]), *found[1:]))
    index_of_samples = SampleIndex(*np.array(rows, np.int64).T)
    kind = "denoise-trajectory" if plan.submit.shown else "sample"
    return Stored(kind, plan, TIMING, results, index_of_samples)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "media_type"), STREAMED)
def test_a_stream_is_the_bytes_of_the_synchronous_answer(
    kind: Kind, media_type: str, results: ResultStore
) -> None:
    plan = plan_of(kind)
    found = STREAMS[kind][media_type](stored(plan, results))
    content = b"".join(found.blocks(0, found.size) if isinstance(found, Body) else found)
    assert content == answer(plan, media_type)


def test_json_is_sent_in_blocks(results: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 100)
    blocks = list(representations.sample_json(stored(PLAN, results)))
    assert len(blocks) > 2
    assert len(json.loads(b"".join(blocks))["samples"]) == 3


@pytest.mark.parametrize("plan", [PLAN, WITH_FRAMES], ids=["images", "frames"])
def test_a_picture_is_made_of_the_whole_result(plan: Plan, results: ResultStore) -> None:
    kept = stored(plan, results)
    for media_type in PICTURES[kept.kind]:
        assert b"".join(picture(kept, media_type).blocks) == answer(plan, media_type)


@pytest.mark.parametrize(("kind", "media_type"), STREAMED)
def test_a_stream_takes_the_memory_of_one_sample(
    kind: Kind, media_type: str, results: ResultStore
) -> None:
    kept = stored(plan_of(kind), results)
    index = dataclasses.replace(kept.index, size=np.full(3, 1 << 20))
    large = memory_bytes(dataclasses.replace(kept, index=index), media_type)
    assert 3 << 20 < large < 6 << 20
    assert memory_bytes(kept, media_type) < 2 << 20


def damage(results: ResultStore, plan: Plan, number: int, how: str) -> None:
    """What a disk may do to a file."""
    job_id, index = plan.submit.id, plan.submit.indices[number]
    content = results.read(job_id, index)
    assert content is not None
    damaged = {
        "cut": content[:-1],
        "longer": content + b"x",
        "empty": b"",
        "first bit": bytes([content[0] ^ 1]) + content[1:],
        "last bit": content[:-1] + bytes([content[-1] ^ 1]),
    }
    results.write(job_id, index, damaged[how])


@pytest.mark.parametrize("plan", [PLAN, WITH_FRAMES], ids=["images", "frames"])
@pytest.mark.parametrize("how", ["cut", "longer", "empty", "first bit", "last bit"])
def test_no_byte_of_a_damaged_file_is_used(how: str, plan: Plan, results: ResultStore) -> None:
    kept = stored(plan, results)
    damage(results, plan, 1, how)
    for media_type, encode in STREAMS[kept.kind].items():
        found = encode(kept)
        blocks = found.blocks(0, found.size) if isinstance(found, Body) else found
        with pytest.raises(SampleLost, match="^sample 1: its file is damaged$"):
            list(blocks)
        if isinstance(found, Body):
            assert b"".join(found.blocks(0, 30)) == answer(plan, media_type)[:30]
    for media_type in PICTURES[kept.kind]:
        with pytest.raises(SampleLost) as error:
            picture(kept, media_type)
        assert error.value.number == 1
    assert kept.lost() == ([] if "bit" in how else [1])


def test_missing_files_are_found_all_at_once(results: ResultStore, tmp_path: Path) -> None:
    kept = stored(PLAN, results)
    for number in (0, 2):
        (tmp_path / "results" / PLAN.submit.id / f"{3 + number:06d}").unlink()
    with pytest.raises(SampleLost, match="^sample 2: its file is missing$"):
        kept.read(2)
    assert kept.lost() == [0, 2]
    results.remove(PLAN.submit.id)
    assert kept.lost() == [0, 1, 2]


def test_a_store_that_is_gone_has_lost_no_sample(results: ResultStore, tmp_path: Path) -> None:
    kept = stored(PLAN, results)
    (tmp_path / "results").rename(tmp_path / "unmounted")
    for attempt in (lambda: kept.read(0), kept.lost):
        with pytest.raises(StorageUnavailable, match="the folder of results is gone"):
            attempt()
    (tmp_path / "results").touch()  # and of a folder that is a file, which is another error
    with pytest.raises(StorageUnavailable):
        kept.read(0)
