"""Prompts and sizes of OpenAI's images API, and its answer."""

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from app.generation.collect import Needs, Result
from app.generation.errors import AnswerTooLarge, InvalidField
from app.generation.openai_images import (
    check_size,
    encode,
    format_of,
    label_of,
    larger,
    scale_of,
    with_label,
)
from app.generation.plan import plan
from app.generation.schemas.openai import ImagesRequest, ImagesResponse
from app.settings import Settings
from tests.model_info import MODEL

NUMBERED = dataclasses.replace(MODEL, classes=("3", "1", "two"))
UNCONDITIONAL = dataclasses.replace(MODEL, classes=(), null_label=None)
NO_DROPOUT = dataclasses.replace(MODEL, null_label=None)
MANY = dataclasses.replace(MODEL, classes=tuple(f"c{i}" for i in range(1000)))


def test_a_prompt_is_a_class_by_name_or_else_by_number() -> None:
    assert [label_of(prompt, MODEL) for prompt in ("cat", " Dog ", "1", "0", "", " ")] == [
        0, 1, 1, 0, None, None
    ]  # fmt: skip
    assert [label_of(prompt, NUMBERED) for prompt in ("3", "1", "2")] == [0, 1, 2], "names first"


@pytest.mark.parametrize("prompt", ["cow", "2", "-1", "1.0", "٠", "a cat"])
def test_anything_else_is_refused_with_the_classes(prompt: str) -> None:
    with pytest.raises(InvalidField) as caught:
        label_of(prompt, MODEL)
    assert caught.value.reason == "it must be a class by name or number: cat, dog, or empty"
    with pytest.raises(InvalidField, match="c19 and 980 more, or empty$"):
        label_of("cow", MANY)


def test_a_model_without_classes_has_no_prompt() -> None:
    with pytest.raises(InvalidField, match="has no classes, so the prompt must be empty"):
        label_of("cat", UNCONDITIONAL)
    assert with_label(ImagesRequest(), UNCONDITIONAL).labels is None


def test_where_a_class_is_needed_the_prompt_must_name_one() -> None:
    with pytest.raises(InvalidField) as caught:
        with_label(ImagesRequest(), NO_DROPOUT)
    assert (caught.value.name, caught.value.reason) == (
        "prompt", "it must be a class by name or number: cat, dog"
    )  # fmt: skip
    assert with_label(ImagesRequest(labels=1), NO_DROPOUT).labels == 1


def test_the_class_is_said_once() -> None:
    assert with_label(ImagesRequest(prompt="dog"), MODEL).labels == 1
    with pytest.raises(InvalidField, match="the prompt says the class"):
        with_label(ImagesRequest(prompt="dog", labels=1), MODEL)


def test_a_size_is_the_models_or_a_multiple_of_it() -> None:
    wide = dataclasses.replace(MODEL, image_shape=(3, 8, 16))
    assert [scale_of(size, wide) for size in ("auto", "16x8", "32x16", "4096x2048")] == [
        1, 1, 2, 256
    ]  # fmt: skip
    for size in ("8x16", "32x8", "24x12", "0x0", "16 x 8", "4112x2056", "16x8x1", "９x８", ""):
        with pytest.raises(InvalidField, match="it must be auto or 16x8, times 1..256"):
            scale_of(size, wide)


def test_the_pixels_of_an_answer_are_bounded_before_anything_is_made() -> None:
    check_size(2, 10, MODEL, 2 * 3 * 64 * 100)
    with pytest.raises(AnswerTooLarge, match="2 pictures of 80x80"):
        check_size(2, 10, MODEL, 2 * 3 * 64 * 100 - 1)


@pytest.mark.parametrize("scale", [1, 3])
def test_the_answer_has_pngs_whose_pixels_are_repeated(scale: int) -> None:
    planned = plan(ImagesRequest(n=2, seed=5, labels=[1, 0]), MODEL, Settings())
    result = Result(planned, Needs(x_0=True))
    result.x_0[:] = np.random.default_rng(0).integers(0, 256, result.x_0.shape)
    result.timing = {"queued_s": 0.0, "compute_s": 1.0}
    made = encode(result, scale)
    body = b"".join(made.blocks)
    assert len(body) == made.size <= format_of(scale).cost(planned)
    answer = ImagesResponse.model_validate(json.loads(body))
    assert (answer.size, answer.seed) == (f"{8 * scale}x{8 * scale}", 5)
    assert [image.label for image in answer.data] == [1, 0]
    for image, original in zip(answer.data, result.x_0, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image.b64_json))) as found:
            pixels = np.asarray(found)
        assert np.array_equal(pixels[::scale, ::scale], original)
        assert np.array_equal(pixels, larger(original, scale))


def test_formats_of_other_sizes_are_others() -> None:
    assert len({format_of(scale).variant for scale in (1, 2, 3)} | {""}) == 4
