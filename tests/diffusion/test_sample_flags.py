"""The flags of `ddpm sample`, parsed."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from diffusion import sample_flags
from diffusion.sample_flags import chain_of
from diffusion.spacing import SamplerName

RECOMMENDED = {"sampler": "unipc", "steps": 8, "spacing": "tuned", "guidance": 1.5}


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sample_flags.add_images(parser)
    sample_flags.add_chain(parser)
    return parser.parse_args(words)


def test_without_flags_it_is_sixteen_images_of_algorithm_2_unless_starts_say_how_many() -> None:
    assert sample_flags.DEFAULT_N == 16
    assert vars(parse()) == {
        "out": Path("samples.png"), "force": False, "n": None, "label": None, "seed": 0,
        "first_index": 0, "recommended": False, "sampler": None, "steps": None, "spacing": None,
        "eta": 0.0, "variance": None, "guidance": None, "guidance_interval": None,
    }  # fmt: skip
    assert chain_of(parse(), "a", RECOMMENDED) == ("ddpm", None, "even", 0.0)


def test_a_label_is_for_all_images_or_one_for_each() -> None:
    assert parse("--label", "3").label == [3]
    assert parse("--label", "3", "1", "--n", "2").label == [3, 1]


def test_a_list_of_timesteps_takes_the_place_of_a_spacing() -> None:
    assert parse("--spacing", "1000,500,100").spacing == (1000, 500, 100)
    assert parse("--spacing", "tuned").spacing == "tuned"


@pytest.mark.parametrize(
    ("words", "chain"),
    [
        (["--label=1"], ("unipc", 8, "tuned", 1.5)),
        ([], ("unipc", 8, "tuned", 0.0)),
        (["--label=1", "--guidance=0"], ("unipc", 8, "tuned", 0.0)),
        (["--label=1", "--steps=5"], ("unipc", 5, "tuned", 1.5)),
        (["--label=1", "--sampler=unipc", "--spacing=even"], ("unipc", 8, "even", 1.5)),
        (["--label=1", "--spacing=90,20"], ("unipc", None, (90, 20), 1.5)),
        (["--label=1", "--sampler=ddim"], ("ddim", None, "even", 1.5)),
    ],
)
def test_what_is_not_given_is_as_the_card_recommends(
    words: list[str], chain: tuple[Any, ...]
) -> None:
    assert chain_of(parse("--recommended", *words), "a", RECOMMENDED) == chain


def test_a_card_may_recommend_guidance_alone() -> None:
    args = parse("--recommended", "--label=1")
    assert chain_of(args, "a", {"guidance": 2.0}) == ("ddpm", None, "even", 2.0)


def test_guidance_may_have_an_interval() -> None:
    assert parse("--guidance-interval", "800", "200").guidance_interval == [800, 200]


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_every_sampler_can_be_named(name: str) -> None:
    assert parse("--sampler", name).sampler == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sampler=plms"], "argument --sampler: invalid choice: 'plms'"),
        (["--variance=learned"], "argument --variance: invalid choice: 'learned'"),
        (["--spacing=odd"], "argument --spacing: 'odd' is none of even"),
        (["--guidance-interval", "5"], "argument --guidance-interval: expected 2 arguments"),
        (["--n=many"], "argument --n: invalid int value: 'many'"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_flag(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert said in capsys.readouterr().err


def test_help_needs_no_pytorch() -> None:
    check = "import sys, diffusion.sample_flags; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def starts(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sample_flags.add_start(parser)
    return parser.parse_args(words)


def test_a_flag_that_says_how_to_use_what_is_not_given_is_found() -> None:
    assert sample_flags.unmet_start(starts()) is None
    assert sample_flags.unmet_start(starts("--start-image", "a.png", "--t=3")) is None
    for flag, needed in (
        ("--t=3", "--start-image, --start-images or --start-x-t"),
        ("--weights=0.5", "--start-images or --seeds"),
        ("--resize", "--start-image or --start-images"),
        ("--mask=m.png", "--start-image"),
        ("--resamplings=2", "--mask"),
        ("--jump=2", "--mask"),
    ):
        unmet = sample_flags.unmet_start(starts(flag))
        assert unmet is not None
        assert (unmet[0], unmet[2]) == (flag[2:].partition("=")[0], needed)


def test_pictures_seeds_and_states_are_not_given_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        starts("--seeds", "1", "2", "--start-image", "a.png")
    assert "argument --start-image: not allowed with argument --seeds" in capsys.readouterr().err


def test_a_start_has_one_picture_for_all_images_or_one_for_each() -> None:
    assert starts("--start-image", "a.png", "b.png").start_image == [Path("a.png"), Path("b.png")]
    weights = starts("--start-images", "a.png", "b.png", "--weights", "0", "0.5").weights
    assert weights == [0.0, 0.5]


def test_encode_goes_up_to_T_in_fifty_steps_unless_it_is_told_otherwise() -> None:
    parser = argparse.ArgumentParser()
    sample_flags.add_encode(parser)
    assert vars(parser.parse_args(["a.png"])) == {
        "pictures": [Path("a.png")], "label": None, "resize": False, "out": Path("x_t.npz"),
        "force": False, "steps": 50, "t": None,
    }  # fmt: skip
