"""Pictures and states that clients send, decoded by real processes."""

import asyncio
import base64
import contextlib
import io
import os
from collections.abc import AsyncIterator
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from app.generation.errors import InvalidField, PicturesBusy, Refusal, TooManyOwnPictures
from app.generation.pictures import MAX_PICTURES, Outcome, Pictures, Sent
from app.http.metrics import PICTURES
from tests.app.generation.hostile_pictures import (
    PNG,
    RAMP,
    REFUSED,
    accepted,
    encoded,
    jpeg_of_many_scans,
)

pytestmark = pytest.mark.anyio
GREY = (1, 8, 8)


def sent(raw: bytes, name: str = "start.image") -> Sent:
    return Sent(name, base64.b64encode(raw).decode())


@pytest.fixture
async def pictures() -> AsyncIterator[Pictures]:
    decoder = Pictures(workers=1)
    yield decoder
    await decoder.close()


async def reason(pictures: Pictures, raw: bytes, *, resize: bool = False) -> str:
    with pytest.raises(InvalidField) as error:
        await pictures.images([sent(raw)], GREY, resize=resize)
    assert error.value.name == "start.image"
    return error.value.reason


async def test_every_usual_kind_of_picture_is_read(pictures: Pictures) -> None:
    files = accepted()
    made = await pictures.images([sent(raw) for raw, _ in files.values()], GREY, resize=False)
    for (name, (_, pixels)), image in zip(files.items(), made, strict=True):
        np.testing.assert_array_equal(image[0], pixels, name)


async def test_cmyk_and_jpeg_are_read_as_the_colours_that_they_show(pictures: Pictures) -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    files = [encoded(red.convert("CMYK"), "JPEG", quality=100), encoded(red, "JPEG", quality=100)]
    made = await pictures.images([sent(raw) for raw in files], (3, 8, 8), resize=False)
    for image in made:
        assert np.abs(image.astype(int)[:, 0, 0] - [255, 0, 0]).max() < 6


async def test_what_is_no_picture_of_the_model_is_refused_with_the_reason(
    pictures: Pictures,
) -> None:
    for name, (raw, expected) in REFUSED.items():
        assert expected in await reason(pictures, raw), name


async def test_another_size_is_refused_or_scaled_when_asked(pictures: Pictures) -> None:
    large = encoded(Image.fromarray(np.kron(RAMP, np.ones((2, 2), np.uint8))))
    assert '16 x 16 pixels, and the model\'s images 8 x 8; "resize": true' in await reason(
        pictures, large
    )
    (image,) = await pictures.images([sent(large)], GREY, resize=True)
    np.testing.assert_array_equal(image[0], RAMP)
    (one,) = await pictures.images([sent(encoded(Image.new("L", (1, 1), 9)))], GREY, resize=True)
    assert (one == 9).all()


async def test_the_field_of_the_picture_at_fault_is_named(pictures: Pictures) -> None:
    both = [sent(PNG, "start.image[0]"), sent(b"no", "start.image[1]")]
    with pytest.raises(InvalidField) as error:
        await pictures.images(both, GREY, resize=False)
    assert error.value.name == "start.image[1]"
    assert error.value.value == base64.b64encode(b"no").decode()


async def test_only_base64_is_read(pictures: Pictures) -> None:
    for text in ("data:image/png;base64,AAAA", "AAA", "AA\nAA", "_-__", "é"):
        with pytest.raises(InvalidField, match="not base64"):
            await pictures.images([Sent("mask", text)], GREY, resize=False)


async def test_a_file_of_more_than_4_mib_is_refused(pictures: Pictures) -> None:
    assert "4194304 are allowed" in await reason(pictures, PNG + bytes(4 << 20))


async def test_the_largest_picture_with_transparency_fits_into_the_memory(
    pictures: Pictures,
) -> None:
    large = encoded(Image.new("RGBA", (4096, 4096), (255, 255, 255, 128)), compress_level=1)
    (image,) = await pictures.images([sent(large)], (3, 8, 8), resize=True)
    assert (image == 128).all()


async def test_what_takes_too_long_is_given_up_and_the_next_is_read() -> None:
    pictures = Pictures(workers=1, seconds=2.0)
    try:
        assert "more than 2 seconds" in await reason(
            pictures, jpeg_of_many_scans(2000), resize=True
        )
        (image,) = await pictures.images([sent(PNG)], GREY, resize=False)
        np.testing.assert_array_equal(image[0], RAMP)
    finally:
        await pictures.close()


async def test_what_became_of_each_is_counted_with_its_seconds() -> None:
    counted: list[tuple[Outcome, float]] = []
    pictures = Pictures(1, 2.0, count=lambda *told: counted.append(told))
    files = [PNG, b"no", REFUSED["cut"][0], jpeg_of_many_scans(2000)]
    try:
        for raw in files:
            with contextlib.suppress(InvalidField):
                await pictures.images([sent(raw)], GREY, resize=True)
    finally:
        await pictures.close()
    assert [outcome for outcome, _ in counted] == [
        "decoded", "unknown_format", "unusable", "too_slow",
    ]  # fmt: skip
    assert all(seconds > 0 for _, seconds in counted) and counted[-1][1] >= 2


def test_every_outcome_is_a_label_of_the_metrics() -> None:
    assert set(PICTURES) == {"decoded", *get_args(Refusal)}


async def test_a_process_that_dies_is_replaced(pictures: Pictures) -> None:
    await pictures.images([sent(PNG)], GREY, resize=False)
    slow = asyncio.create_task(reason(pictures, jpeg_of_many_scans(2000), resize=True))
    await asyncio.sleep(0.3)
    (worker,) = children()
    os.kill(worker, 9)
    assert "died" in await slow
    await pictures.images([sent(PNG)], GREY, resize=False)


@pytest.mark.slow
async def test_too_many_at_once_are_told_to_come_again() -> None:
    pictures = Pictures(workers=1, seconds=3.0, wait_seconds=0.2)
    slow = asyncio.create_task(reason(pictures, jpeg_of_many_scans(2000), resize=True))
    await asyncio.sleep(0.1)
    try:
        with pytest.raises(PicturesBusy) as error:
            await pictures.images([sent(PNG)], GREY, resize=False)
        assert error.value.retry_after == 3
        await slow
    finally:
        await pictures.close()


@pytest.mark.slow
async def test_slow_pictures_of_a_client_hold_up_that_client_alone() -> None:
    pictures = Pictures(workers=2, seconds=3.0, wait_seconds=0.2)

    async def slow() -> None:
        async with pictures.turn("one"):
            await reason(pictures, jpeg_of_many_scans(2000), resize=True)

    held = asyncio.create_task(slow())
    await asyncio.sleep(0.1)
    try:
        with pytest.raises(TooManyOwnPictures) as error:
            await pictures.turn("one").__aenter__()
        assert error.value.retry_after == 3
        async with pictures.turn("other"):
            await pictures.images([sent(PNG)], GREY, resize=False)
        await held
        async with pictures.turn("one"):
            await pictures.images([sent(PNG)], GREY, resize=False)
    finally:
        await pictures.close()


@pytest.mark.parametrize(("shape", "most"), [((3, 1024, 1024), 10), (GREY, MAX_PICTURES)])
async def test_no_more_pictures_are_decoded_than_a_request_may_hold(
    pictures: Pictures, shape: tuple[int, int, int], most: int
) -> None:
    """As many as there is memory and time for."""
    many = Sent.each("start.image", ["not even read"] * (most + 1))
    with pytest.raises(InvalidField, match=f"at most {most} pictures .* in further requests") as no:
        await pictures.images(many, shape, resize=True)
    assert (no.value.name, no.value.value) == ("start.image", most + 1)


async def test_states_are_read_with_their_t(pictures: Pictures) -> None:
    x_t = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, x_t=x_t, t=np.int64(40))
    states = await pictures.states(sent(file.getvalue(), "start.x_t"), None)
    np.testing.assert_array_equal(states.x_t, x_t)
    assert states.t == 40


async def test_a_file_that_unpacks_to_more_than_is_allowed_is_refused(pictures: Pictures) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, x_t=np.zeros((1, 1, 4096, 4096), np.float32))
    with pytest.raises(InvalidField, match="start.x_t: it has more than the"):
        await pictures.states(sent(file.getvalue(), "start.x_t"), None)


async def test_the_processes_end_when_it_is_closed(pictures: Pictures) -> None:
    await pictures.images([sent(PNG)], GREY, resize=False)
    assert len(children()) == 1
    await pictures.close()
    assert not children()


def children() -> list[int]:
    """The processes that this one has started and that run."""
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        found = [int(child) for child in file.read().split()]
    return [child for child in found if "picture_worker" in command(child)]


def command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def test_several_of_a_field_are_named_by_their_place() -> None:
    assert Sent.each("image", "x") == [Sent("image", "x")]
    assert Sent.each("image", ["x", "y"]) == [Sent("image[0]", "x"), Sent("image[1]", "y")]
