"""The flags of the commands that read data, parsed."""

import argparse
from pathlib import Path

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


def test_a_cache_is_named_by_a_flag_or_else_by_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: str) -> str | None:
        parser = argparse.ArgumentParser()
        flags.add_cache(parser.add_argument_group("what runs the network"))
        named: str | None = parser.parse_args(arguments).cache
        return named

    monkeypatch.delenv("DDPM_CACHE", raising=False)
    assert read() is None
    monkeypatch.setenv("DDPM_CACHE", "/from/the/variable")
    assert read() == "/from/the/variable"
    assert read("--cache", str(tmp_path)) == str(tmp_path)
    assert read("--cache=") == ""


def test_a_cache_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    parser = argparse.ArgumentParser()
    flags.add_cache(parser.add_argument_group("what runs the network"))
    with pytest.raises(SystemExit):
        parser.parse_args([f"--cache={tmp_path / 'file'}"])
    assert "is not a folder" in capsys.readouterr().err
