"""The start and the mask of `ddpm sample --server`; `test_cli` has them on a server."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.client.cli_start import FlagError, Given
from diffusion import sample_flags

SHAPE = (1, 8, 8)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in range(3):
        Image.new("L", (8, 8), value).save(f"{value}.png")


def given(*words: str) -> Given:
    parser = argparse.ArgumentParser()
    sample_flags.add_start(parser)
    return Given.of(parser.parse_args(words), SHAPE)


def test_without_flags_chains_begin_at_noise() -> None:
    nothing = given()
    assert nothing.part(0, 5) is None
    assert nothing.mask is None
    assert (nothing.count(None), nothing.count(3)) == (sample_flags.DEFAULT_N, 3)


@pytest.mark.usefixtures("pictures")
def test_each_part_of_the_images_has_its_own_pictures() -> None:
    three = given("--start-image", "0.png", "1.png", "2.png", "--t=5")
    assert three.count(None) == 3
    first, second = three.part(0, 2), three.part(2, 1)
    assert first is not None and len(first.fields["image"]) == 2
    assert second is not None and len(second.fields["image"]) == 1
    one = given("--start-image", "0.png", "--t=5").part(2, 1)
    assert one is not None and isinstance(one.fields["image"], str)


def test_each_part_has_its_own_weights_as_a_list() -> None:
    walk = given("--seeds", "1", "2", "--weights", "0", "0.5", "1")
    assert walk.count(None) == 3
    part = walk.part(1, 1)
    assert part is not None and part.fields["weight"] == [0.5]
    one = given("--seeds", "1", "2").part(1, 1)
    assert one is not None and one.fields["weight"] == 0.5


def test_other_numbers_than_that_of_the_images_are_refused() -> None:
    with pytest.raises(FlagError, match="weights: 3 is not allowed: give one, or one for each of"):
        given("--seeds", "1", "2", "--weights", "0", "0.5", "1").count(4)


@pytest.mark.usefixtures("pictures")
def test_files_that_cannot_be_used_are_refused_by_flag() -> None:
    Image.new("L", (9, 8)).save("large.png")
    np.save("flat.npy", np.zeros(4, np.float32))
    for flags, reason in (
        (["--start-image", "large.png", "--t=5"], "start_image: 'large.png' .*--resize scales it"),
        (["--start-image", "flat.npy", "--t=5"], "start_image: 'flat.npy' is not allowed"),
        (["--start-image", "0.png", "--mask=no.png"], "mask: 'no.png' .*No such file"),
        (["--start-x-t=flat.npy"], "start_x_t: 'flat.npy' is not allowed: x_t is float32"),
        (["--jump=3"], "jump: 3 is not allowed: it needs --mask"),
    ):
        with pytest.raises(FlagError, match=reason):
            given(*flags)
