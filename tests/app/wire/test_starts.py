"""Where chains begin, as engines are told of it."""

import dataclasses

import pytest

from app.wire.codec import HEADER, decode, encode
from app.wire.messages import Submit
from app.wire.starts import Start

SUBMIT = Submit("a", "m", 1, (5, 6, 7), (0, 1, 2), "ddim", 10)
EACH = Start(kind="image", pictures=(b"a", b"b", b"c"), mask=b"m", resamplings=3, jump=2)
TWO = Start(kind="images", pictures=(b"a", b"b"), weights=(0.0, 0.5, 1.0), shares_noise=True)
ONE = Start(kind="image", pictures=(b"a",))
SEEDS = Start(kind="seeds", seeds=(1, 2**53 - 1), weights=(0.5,))
STATES = Start(kind="x_t", states=(b"\0\1", b"\2\3", b"\4\5"))


@pytest.mark.parametrize("start", [None, EACH, TWO, ONE, SEEDS, STATES])
def test_a_job_with_a_start_is_the_same_on_the_other_side(start: Start | None) -> None:
    submit = dataclasses.replace(SUBMIT, start=start, guided=(0, 2, 5, 7))
    assert decode(encode(submit)[HEADER.size :]) == submit


def test_a_part_of_a_job_keeps_what_belongs_to_its_samples() -> None:
    def part(start: Start) -> Start | None:
        return dataclasses.replace(SUBMIT, start=start).only([2, 0]).start

    assert part(EACH) == dataclasses.replace(EACH, pictures=(b"c", b"a"))
    assert part(TWO) == dataclasses.replace(TWO, weights=(1.0, 0.0))
    assert part(STATES) == dataclasses.replace(STATES, states=(b"\4\5", b"\0\1"))
    assert part(ONE) == ONE
    assert part(SEEDS) == SEEDS


def test_its_size_is_that_of_its_pictures() -> None:
    assert (EACH.size, TWO.size, SEEDS.size, STATES.size) == (4, 2, 0, 6)
