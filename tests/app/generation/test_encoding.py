"""Every representation decodes back to the arrays it was made of, and always has the same bytes."""

import base64
import dataclasses
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.generation import encoding
from app.generation.collect import Result
from app.generation.plan import Plan
from app.generation.schemas import SampleResponse, TrajectoryResponse
from app.wire.messages import Submit

SHAPE = (3, 4, 6)  # C, H, W
SUBMIT = Submit("abc", 7, (5, 6, 7), (0, 1, 2), "ddim", 10, eta=0.5, shown=(0, 5, 10))
PLAN = Plan(SUBMIT, "m", "1234", SHAPE, (0, 1, None), (100, 50, 0))


def made(plan: Plan = PLAN) -> Result:
    """Three images and their trajectories, with values outside [-1, 1] among them."""
    rng = np.random.default_rng(0)
    n, frames = len(plan.submit.indices), len(plan.shown_times)
    x_t = rng.uniform(-1.5, 1.5, (n, frames, *plan.image_shape)).astype(np.float32)
    x_0_hat = rng.uniform(-1, 1, x_t.shape).astype(np.float32)
    return Result(plan, x_t[:, -1], x_t, x_0_hat, {"queued_s": 0.5, "compute_s": 2.0})


def levels(x: np.ndarray) -> np.ndarray:
    """Grey levels (…,H,W,C) of float images, by the definition: -1 is 0, 1 is 255."""
    wide = (x.astype(np.float64) + 1) / 2 * 255
    return np.moveaxis(np.rint(wide.clip(0, 255)), -3, -1).astype(np.uint8)


def decoded(content: bytes) -> np.ndarray:
    """The pixels (H,W,C) of a PNG."""
    return np.atleast_3d(np.asarray(Image.open(io.BytesIO(content))))


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N,H,W,C) row by row in one picture, black where there is none."""
    black = np.zeros_like(images[0])
    cells = [*images, *[black] * (-len(images) % columns)]
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows, 0)


def test_json_has_each_image_as_a_png_and_its_digest() -> None:
    result = made()
    response = SampleResponse.model_validate_json(encoding.sample_json(result))
    assert (response.id, response.model, response.seed) == ("abc", "m", 7)
    assert (response.sampler, response.steps) == ("ddim", 10)
    assert response.timing.model_dump() == result.timing
    assert [(s.index, s.label) for s in response.samples] == [(5, 0), (6, 1), (7, None)]
    for sample, x_0 in zip(response.samples, result.x_0, strict=True):
        content = base64.b64decode(sample.png)
        assert np.array_equal(decoded(content), levels(x_0))
        assert sample.sha256 == hashlib.sha256(content).hexdigest()


def test_a_png_shows_all_images_in_a_near_square_grid() -> None:
    result = made()
    expected = grid(levels(result.x_0), columns=2)
    assert np.array_equal(decoded(encoding.sample_png(result)), expected)


def test_a_grey_image_is_a_grey_png() -> None:
    plan = dataclasses.replace(PLAN, image_shape=(1, 4, 6))
    result = made(plan)
    with Image.open(io.BytesIO(encoding.png(levels(result.x_0[0])))) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), levels(result.x_0[0])[..., 0])


def test_a_zip_has_a_png_for_each_index_and_the_request() -> None:
    result = made()
    with zipfile.ZipFile(io.BytesIO(encoding.sample_zip(result))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    request = json.loads(files.pop("request.json"))
    assert request == {"model": "m", "sha256": "1234", "request": PLAN.request}
    assert list(files) == ["000005.png", "000006.png", "000007.png"]
    for content, x_0 in zip(files.values(), result.x_0, strict=True):
        assert np.array_equal(decoded(content), levels(x_0))


def test_an_npz_has_the_pixels_and_names_them() -> None:
    result = made()
    with np.load(io.BytesIO(encoding.sample_npz(result)), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], levels(result.x_0))
        assert arrays["images"].dtype == np.uint8
        assert arrays["index"].tolist() == [5, 6, 7]
        assert arrays["label"].tolist() == [0, 1, -1], "-1: no label"


def test_a_trajectory_in_json_has_both_pictures_of_every_frame() -> None:
    result = made()
    response = TrajectoryResponse.model_validate_json(encoding.trajectory_json(result))
    assert [(one.index, one.label) for one in response.trajectories] == [(5, 0), (6, 1), (7, None)]
    for i, trajectory in enumerate(response.trajectories):
        assert [frame.t for frame in trajectory.frames] == [100, 50, 0]
        for k, frame in enumerate(trajectory.frames):
            x_t, x_0_hat = map(base64.b64decode, (frame.x_t, frame.x0_hat))
            assert np.array_equal(decoded(x_t), levels(result.x_t[i, k]))
            assert np.array_equal(decoded(x_0_hat), levels(result.x_0_hat[i, k]))


def test_a_trajectory_in_an_npz_is_exact_and_not_clipped() -> None:
    result = made()
    with np.load(io.BytesIO(encoding.trajectory_npz(result)), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["x_t"], result.x_t)
        assert np.array_equal(arrays["x0_hat"], result.x_0_hat)
        assert arrays["x_t"].dtype == np.float32
        assert arrays["t"].tolist() == [100, 50, 0]
        assert arrays["index"].tolist() == [5, 6, 7]


def test_a_film_strip_has_a_row_for_each_sample_and_a_column_for_each_frame() -> None:
    result = made()
    rows = [np.concatenate(list(levels(states)), axis=1) for states in result.x_t]
    assert np.array_equal(decoded(encoding.film_strip(result)), np.concatenate(rows, axis=0))


@pytest.mark.parametrize(
    ("encode", "kind"),
    [
        (encoding.trajectory_gif, "GIF"),
        (encoding.trajectory_webp, "WEBP"),
        (encoding.trajectory_apng, "PNG"),
    ],
    ids=["gif", "webp", "apng"],
)
def test_an_animation_shows_the_grid_at_each_t_and_rests_at_the_last(
    encode: Callable[[Result], bytes], kind: str
) -> None:
    result = made()
    with Image.open(io.BytesIO(encode(result))) as animation:
        assert animation.format == kind
        assert animation.info["loop"] == 0, "for ever"
        assert getattr(animation, "n_frames", 1) == 3
        for k, milliseconds in enumerate((120, 120, 1500)):
            animation.seek(k)
            animation.load()
            assert animation.info["duration"] == milliseconds
            pixels = np.asarray(animation.convert("RGB"))
            expected = grid(levels(result.x_t[:, k]), columns=2)
            assert np.array_equal(pixels, expected)


REPRESENTATIONS = [
    encoding.sample_json, encoding.sample_png, encoding.sample_zip, encoding.sample_npz,
    encoding.trajectory_json, encoding.trajectory_npz, encoding.film_strip,
    encoding.trajectory_gif, encoding.trajectory_webp, encoding.trajectory_apng,
]  # fmt: skip


@pytest.mark.parametrize("encode", REPRESENTATIONS, ids=lambda encode: encode.__name__)
def test_the_same_result_has_the_same_bytes_on_another_day(
    encode: Callable[[Result], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(made())
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    assert encode(made()) == first


def test_a_file_in_an_archive_is_as_old_as_zip_can_tell() -> None:
    with zipfile.ZipFile(io.BytesIO(encoding.archive({"a": b"1"}))) as archive:
        (info,) = archive.infolist()
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.compress_type == zipfile.ZIP_STORED
