"""The soak's pool, and what of an answer must be the same each time."""

import json
from typing import Any

from benchmarks.soak.requests import SAMPLE_TYPES, STREAM, TRAJECTORY_TYPES, fingerprint, make_pool

MODEL: dict[str, Any] = {"num_timesteps": 50, "classes": ["a", "b"], "null_label": 2}


def stream(*frames: tuple[int, int], end: str = "done", **rest: Any) -> bytes:
    events = [("frame", {"index": index, "t": t}) for index, t in frames] + [(end, rest)]
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events).encode()


def test_the_pool_is_the_seeds_and_its_requests_are_distinct() -> None:
    pool = make_pool(MODEL, 50, seed=3)
    assert pool == make_pool(MODEL, 50, seed=3) != make_pool(MODEL, 50, seed=4)
    assert len({json.dumps(request.body) for request in pool}) == 50
    assert {request.accept for request in pool} == {*SAMPLE_TYPES, *TRAJECTORY_TYPES}
    assert {request.body["sampler"] for request in pool} == {"ddpm", "ddim", "dpmpp"}
    assert max(request.body["steps"] for request in pool) <= 50
    assert any(request.body["guidance"] for request in pool)


def test_an_unconditional_model_is_asked_for_no_labels() -> None:
    for request in make_pool({**MODEL, "classes": [], "null_label": None}, 20, seed=0):
        assert not {"labels", "guidance"} & set(request.body)


def test_json_is_compared_without_id_and_timing() -> None:
    def of(**body: Any) -> str:
        return fingerprint("application/json", json.dumps(body).encode())

    assert of(id="1", timing={"queued_s": 1}, seed=3) == of(seed=3, id="2", timing={})
    assert of(seed=3) != of(seed=4)


def test_frames_of_different_samples_may_come_in_any_order_those_of_one_may_not() -> None:
    told = fingerprint(STREAM, stream((0, 9), (1, 9), (0, 0), (1, 0), id="1", seed=3))
    mixed = b": keep-alive\n\n" + stream((1, 9), (1, 0), (0, 9), (0, 0), id="2", seed=3)
    assert fingerprint(STREAM, mixed) == told
    assert fingerprint(STREAM, stream((0, 0), (1, 9), (0, 9), (1, 0), seed=3)) != told
    assert fingerprint(STREAM, stream((0, 9), (1, 9), (0, 0), seed=3)) != told, "one is missing"


def test_pictures_are_compared_byte_by_byte() -> None:
    assert fingerprint("image/png", b"a") != fingerprint("image/png", b"b")
