"""From an answer's bytes to what the client returns, and what is said of a broken answer."""

import base64
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client.errors import BrokenAnswer
from app.client.reading import (
    read_frame,
    read_job,
    read_model,
    read_object,
    read_samples,
    read_trajectories,
)

PIXELS = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
"""Two colour images, 3 rows of 4 pixels."""


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def entry(index: int, image: np.ndarray) -> dict[str, Any]:
    content = png(image)
    digest = hashlib.sha256(content).hexdigest()
    return {"index": index, "label": None, "png": text(content), "sha256": digest}


def answer(images: np.ndarray = PIXELS, **changes: Any) -> bytes:
    body = {
        "id": "abc", "model": "m", "seed": 7, "sampler": "ddim", "steps": 5,
        "samples": [entry(5 + i, image) for i, image in enumerate(images)],
        "timing": {"queued_s": 0.5, "compute_s": 2.0},
    }  # fmt: skip
    return json.dumps({**body, **changes}).encode()


def npz(**changes: Any) -> bytes:
    arrays = {
        "index": np.array([5]), "label": np.array([-1]), "t": np.array([2, 0]),
        "x_t": np.full((1, 2, 1, 2, 2), 3.0, np.float32),
        "x0_hat": np.zeros((1, 2, 1, 2, 2), np.float32),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, **changes})
    return buffer.getvalue()


JOB = {
    "id": "abc", "kind": "sample", "model": "m", "seed": 7, "sampler": "ddim", "steps": 5,
    "status": "running", "detail": None, "total": 10, "done": 3, "rate": 1.5, "left_s": 4.7,
    "created_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-03T03:04:05Z",
}  # fmt: skip


def test_samples_are_read_with_their_pixels() -> None:
    samples = read_samples(answer())
    assert (samples.id, samples.seed, samples.queued_s, samples.compute_s) == ("abc", 7, 0.5, 2.0)
    assert [(sample.index, sample.label) for sample in samples.samples] == [(5, None), (6, None)]
    assert samples.samples[0].png == png(PIXELS[0])
    assert np.array_equal(samples.array, PIXELS)
    assert np.array_equal(np.asarray(samples.images[1]), PIXELS[1])
    assert np.array_equal(np.asarray(samples.grid), np.concatenate(list(PIXELS), axis=1))


def test_grey_images_have_one_channel() -> None:
    samples = read_samples(answer(PIXELS[..., 0]))
    assert samples.images[0].mode == "L"
    assert np.array_equal(samples.array, PIXELS[..., :1])


def test_a_picture_that_was_damaged_on_its_way_is_named() -> None:
    damaged = {**entry(5, PIXELS[0]), "sha256": "0" * 64}
    with pytest.raises(BrokenAnswer, match="image 5: .*SHA-256 does not match"):
        read_samples(answer(samples=[damaged]))


def test_fields_that_a_newer_server_sends_are_ignored() -> None:
    assert read_samples(answer(mood="fine")) == read_samples(answer())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"samples": None}, "not a list of samples"),
        ({"samples": [{}]}, "not a list of samples: KeyError"),
        ({"timing": {"queued_s": 0.0}}, "Samples without compute_s"),
    ],
    ids=["no list", "no entry", "no time"],
)
def test_an_answer_without_what_the_contract_promises_says_what_is_missing(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BrokenAnswer, match=reason):
        read_samples(answer(**changes))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"<html>", "not JSON"), (b"[1]", r"not a JSON object: \[1\]"), (b"\xff", "not JSON")],
)
def test_what_is_no_json_object_is_broken(content: bytes, reason: str) -> None:
    with pytest.raises(BrokenAnswer, match=reason):
        read_object(content)


def test_trajectories_are_read_with_the_states_not_clipped() -> None:
    read = read_trajectories(npz(), seed=7)
    assert (read.seed, read.index.tolist(), read.label.tolist()) == (7, [5], [-1])
    assert read.t.tolist() == [2, 0]
    assert read.x_t.shape == read.x0_hat.shape == (1, 2, 1, 2, 2)
    assert read.x_t.max() == 3.0


def test_the_pictures_of_a_trajectory_are_clipped() -> None:
    ((noisy, clean),) = read_trajectories(npz(), seed=7).images
    assert noisy.mode == "L"
    assert np.asarray(noisy).min() == np.asarray(clean).max() == 255


ENTRY = npz().index(b"PK\1\2")
"""Where the archive's list of its files begins: the version that reads a file, its flags and its
method follow after 6, 8 and 10 bytes."""


def with_byte(place: int, value: int) -> bytes:
    whole = npz()
    return whole[:place] + bytes([value]) + whole[place + 1 :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        npz()[:200],
        npz().replace(b"\0\0\x40\x40", b"\0\0\0\0", 1),
        with_byte(ENTRY + 6, 255),
        with_byte(ENTRY + 8, 1),
        with_byte(ENTRY + 10, 99),
    ],
    ids=["nothing", "text", "cut", "other numbers", "version", "encrypted", "method"],
)
def test_a_damaged_archive_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenAnswer, match="not an npz archive"):
        read_trajectories(content, seed=7)


def test_an_archive_of_something_else_is_broken() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=PIXELS)
    with pytest.raises(BrokenAnswer, match="Trajectories without index, label, t, x_t, x0_hat"):
        read_trajectories(buffer.getvalue(), seed=7)


def test_a_frame_is_two_pictures_of_one_sample_at_t() -> None:
    body = {"index": 5, "t": 40, "x_t": text(png(PIXELS[0])), "x0_hat": text(png(PIXELS[1]))}
    frame = read_frame(json.dumps(body), seed=7)
    assert (frame.seed, frame.index, frame.t) == (7, 5, 40)
    assert np.array_equal(np.asarray(frame.x_t), PIXELS[0])
    assert np.array_equal(np.asarray(frame.x0_hat), PIXELS[1])
    for changes in ({"x_t": "?"}, {"x_t": None}, {"x0_hat": text(png(PIXELS[1])[:40])}):
        with pytest.raises(BrokenAnswer, match="not a frame"):
            read_frame(json.dumps({**body, **changes}), seed=7)


def test_a_jobs_status_has_times_with_a_zone() -> None:
    job = read_job(json.dumps(JOB))
    assert (job.id, job.done, job.total, job.left_s) == ("abc", 3, 10, 4.7)
    assert job.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with pytest.raises(BrokenAnswer, match="not a job"):
        read_job(json.dumps({**JOB, "created_at": "yesterday"}))
    with pytest.raises(BrokenAnswer, match="not a job: KeyError"):
        read_job(b"{}")


def test_what_is_no_model_is_broken() -> None:
    with pytest.raises(BrokenAnswer, match="Model without name, image_shape"):
        read_model(b"{}")
