"""Every representation decodes back to the arrays it was made of, and always has the same bytes."""

import base64
import dataclasses
import hashlib
import io
import json
import random
import time
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from app.generation import encoding
from app.generation.collect import Result
from app.generation.encoding import Encoded, Sink
from app.generation.formats import SAMPLE, TRAJECTORY
from app.generation.plan import Plan
from app.generation.png import png
from app.generation.schemas.answers import SampleResponse, TrajectoryResponse
from app.generation.zip_stream import BLOCK_BYTES
from app.wire.messages import Submit
from diffusion import pixels

SHAPE = (3, 4, 6)  # C, H, W
SUBMIT = Submit("abc", "m#1", 7, (5, 6, 7), (0, 1, 2), "ddim", 10, eta=0.5, shown=(0, 5, 10))
PLAN = Plan(SUBMIT, "m", "1234", SHAPE, (0, 1, None), (100, 50, 0))


TIMING = {"queued_s": 0.5, "compute_s": 2.0}


class Made(NamedTuple):
    """What an engine made: float32 (n,C,H,W), and (n,frames,C,H,W)."""

    plan: Plan
    x_0: np.ndarray
    x_t: np.ndarray
    x_0_hat: np.ndarray


def encoded(encode: Callable[[Result], Encoded], made: Made) -> bytes:
    """The whole body, of what its format keeps of the result."""
    (chosen,) = [f for f in (*SAMPLE.values(), *TRAJECTORY.values()) if f.encode is encode]
    result = Result(made.plan, chosen.needs)
    result.timing = TIMING
    for number, x_0 in enumerate(made.x_0):
        result.put_image(number, x_0)
        for frame in range(made.x_t.shape[1]):
            result.put_frame(number, frame, made.x_t[number, frame], made.x_0_hat[number, frame])
    size, blocks = chosen.encode(result)
    content = b"".join(blocks)
    assert len(content) == size
    return content


def made(plan: Plan = PLAN) -> Made:
    """Three images and their trajectories, with values outside [-1, 1] among them."""
    rng = np.random.default_rng(0)
    n, frames = len(plan.submit.indices), len(plan.shown_times)
    x_t = rng.uniform(-1.5, 1.5, (n, frames, *plan.image_shape)).astype(np.float32)
    x_0_hat = rng.uniform(-1, 1, x_t.shape).astype(np.float32)
    return Made(plan, x_t[:, -1], x_t, x_0_hat)


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
    response = SampleResponse.model_validate_json(encoded(encoding.sample_json, result))
    assert (response.id, response.model, response.seed) == ("abc", "m", 7)
    assert (response.sampler, response.steps) == ("ddim", 10)
    assert response.timing.model_dump() == TIMING
    assert [(s.index, s.label) for s in response.samples] == [(5, 0), (6, 1), (7, None)]
    for sample, x_0 in zip(response.samples, result.x_0, strict=True):
        content = base64.b64decode(sample.png)
        assert np.array_equal(decoded(content), levels(x_0))
        assert sample.sha256 == hashlib.sha256(content).hexdigest()


def test_a_png_shows_all_images_in_a_near_square_grid() -> None:
    result = made()
    expected = grid(levels(result.x_0), columns=2)
    assert np.array_equal(decoded(encoded(encoding.sample_png, result)), expected)


def test_a_grey_image_is_a_grey_png() -> None:
    plan = dataclasses.replace(PLAN, image_shape=(1, 4, 6))
    result = made(plan)
    with Image.open(io.BytesIO(png(levels(result.x_0[0])))) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), levels(result.x_0[0])[..., 0])


def test_a_zip_has_a_png_for_each_index_and_the_request() -> None:
    result = made()
    with zipfile.ZipFile(io.BytesIO(encoded(encoding.sample_zip, result))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    request = json.loads(files.pop("request.json"))
    assert request == {"model": "m", "sha256": "1234", "request": PLAN.request}
    assert list(files) == ["000005.png", "000006.png", "000007.png"]
    for content, x_0 in zip(files.values(), result.x_0, strict=True):
        assert np.array_equal(decoded(content), levels(x_0))


def test_an_npz_has_the_pixels_and_names_them() -> None:
    result = made()
    with np.load(io.BytesIO(encoded(encoding.sample_npz, result)), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], levels(result.x_0))
        assert arrays["images"].dtype == np.uint8
        assert arrays["index"].tolist() == [5, 6, 7]
        assert arrays["label"].tolist() == [0, 1, -1], "-1: no label"


def test_a_trajectory_in_json_has_both_pictures_of_every_frame() -> None:
    result = made()
    response = TrajectoryResponse.model_validate_json(encoded(encoding.trajectory_json, result))
    assert [(one.index, one.label) for one in response.trajectories] == [(5, 0), (6, 1), (7, None)]
    for i, trajectory in enumerate(response.trajectories):
        assert [frame.t for frame in trajectory.frames] == [100, 50, 0]
        for k, frame in enumerate(trajectory.frames):
            x_t, x_0_hat = map(base64.b64decode, (frame.x_t, frame.x0_hat))
            assert np.array_equal(decoded(x_t), levels(result.x_t[i, k]))
            assert np.array_equal(decoded(x_0_hat), levels(result.x_0_hat[i, k]))


def test_a_trajectory_in_an_npz_is_exact_and_not_clipped() -> None:
    result = made()
    with np.load(
        io.BytesIO(encoded(encoding.trajectory_npz, result)), allow_pickle=False
    ) as arrays:
        assert np.array_equal(arrays["x_t"], result.x_t)
        assert np.array_equal(arrays["x0_hat"], result.x_0_hat)
        assert arrays["x_t"].dtype == np.float32
        assert arrays["t"].tolist() == [100, 50, 0]
        assert arrays["index"].tolist() == [5, 6, 7]


def test_a_film_strip_has_a_row_for_each_sample_and_a_column_for_each_frame() -> None:
    result = made()
    rows = [np.concatenate(list(levels(states)), axis=1) for states in result.x_t]
    assert np.array_equal(
        decoded(encoded(encoding.film_strip, result)), np.concatenate(rows, axis=0)
    )


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
    encode: Callable[[Result], Encoded], kind: str
) -> None:
    result = made()
    with Image.open(io.BytesIO(encoded(encode, result))) as animation:
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
    encode: Callable[[Result], Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encoded(encode, made())
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    assert encoded(encode, made()) == first


@pytest.mark.parametrize(
    ("encode", "kind", "options"),
    [
        (encoding.trajectory_gif, "GIF", {"optimize": False}),
        (encoding.trajectory_webp, "WEBP", {"lossless": True, "quality": 50}),
        (encoding.trajectory_apng, "PNG", {"compress_level": 6}),
    ],
    ids=["gif", "webp", "apng"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_is_the_bytes_of_one_that_pillow_makes_of_a_list(
    encode: Callable[[Result], Encoded], kind: str, options: dict[str, Any], channels: int
) -> None:
    result = made(dataclasses.replace(PLAN, image_shape=(channels, 60, 50)))
    first, *others = [pixels.picture(grid(levels(x), columns=2)) for x in result.x_t.swapaxes(0, 1)]
    buffer = io.BytesIO()
    first.save(
        buffer, kind, save_all=True, append_images=others, duration=[120, 120, 1500], loop=0,
        **options,
    )  # fmt: skip
    assert encoded(encode, result) == buffer.getvalue()


def test_a_large_body_is_in_blocks_that_several_may_read() -> None:
    sink, content = Sink(), random.Random(0).randbytes(3 * BLOCK_BYTES)
    sink.write(content[:5])
    sink.write(memoryview(content)[5:])
    size, blocks = sink.encoded()
    received = list(blocks)
    assert (size, b"".join(received)) == (len(content), content)
    assert max(map(len, received)) < 2 * BLOCK_BYTES
    assert list(blocks) == received


def test_a_file_in_an_archive_is_as_old_as_zip_can_tell() -> None:
    with zipfile.ZipFile(io.BytesIO(encoded(encoding.sample_zip, made()))) as archive:
        infos = archive.infolist()
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
