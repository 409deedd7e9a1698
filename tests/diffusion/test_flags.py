"""The flags of the commands that read data, parsed."""

import argparse

import pytest

from diffusion import flags


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flags.add_data(parser)
    return parser.parse_args(["photos", *words])


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0.1", 0.1), ("1e2", 100.0)])
def test_images_are_held_out_by_count_or_share(text: str, value: float) -> None:
    holdout = parse("--holdout", text).holdout
    assert holdout == value and type(holdout) is type(value)


def test_a_size_is_one_side_or_two() -> None:
    assert parse("--size", "8").size == [8]
    assert parse("--size", "6", "8").size == [6, 8]


def test_what_is_not_asked_for_is_left_to_the_configuration() -> None:
    args = parse()
    asked = (args.size, args.crop, args.background, args.channels, args.holdout, args.labels)
    assert asked == (None,) * 6


def test_timesteps_are_kept_by_a_name_or_by_a_list() -> None:
    assert flags.spacing("karras") == "karras"
    assert flags.spacing("1000,500,3") == (1000, 500, 3)
    with pytest.raises(argparse.ArgumentTypeError, match="'odd' is none of even, quadratic"):
        flags.spacing("odd")
