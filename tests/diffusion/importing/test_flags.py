"""The flags of each project that can be imported."""

import argparse

import pytest

from diffusion.importing.flags import add_projects


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each project's flags."""
    projects = argparse.ArgumentParser().add_subparsers()
    add_projects(projects)
    return dict(projects.choices)


@pytest.mark.parametrize("project", parsers())
def test_every_flag_says_what_it_is_for(project: str) -> None:
    for action in parsers()[project]._actions:
        assert action.help, action.dest
        if action.option_strings and not action.required and action.dest != "help":
            assert "default" in action.help, action.dest


@pytest.mark.parametrize("project", parsers())
def test_the_example_of_every_project_is_one_that_it_takes(project: str) -> None:
    _, _, example = (parsers()[project].epilog or "").partition(f"ddpm import {project} ")
    assert parsers()[project].parse_args(example.split()).out


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--learn_sigma"], True),
        (["--learn_sigma", "True"], True),
        (["--learn_sigma", "1"], True),
        (["--learn_sigma", "False"], False),
    ],
)
def test_a_switch_is_written_as_there_or_alone(words: list[str], value: bool) -> None:
    parser = parsers()["improved-diffusion"]
    assert parser.parse_args(["x.pt", "--out", "x", *words]).learn_sigma is value


def test_a_switch_that_is_neither_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsers()["guided-diffusion"].parse_args(["x.pt", "--out=x", "--learn_sigma=maybe"])
    assert "'maybe' is not allowed; it must be True or False" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("project", "rescaled"), [("improved-diffusion", True), ("guided-diffusion", False)]
)
def test_defaults_are_those_of_the_project(project: str, rescaled: bool) -> None:
    args = parsers()[project].parse_args(["x.pt", "--out=x"])
    assert args.rescale_timesteps is rescaled
    assert (args.image_size, args.num_channels, args.num_heads) == (64, 128, 4)
