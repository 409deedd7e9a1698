"""`ddpm data`: from the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from app.cli import main
from tests.diffusion.data.samples import png, put


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {f"train/{name}/{i}.png": png(i) for name in ("cat", "dog") for i in range(2)}
    return put(tmp_path / "images", files)


def ddpm(*flags: str) -> int:
    return main(["data", *flags])


def test_json_tells_what_training_will_see(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ddpm(str(folder), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["splits"] == {"train": {"images": 4, "classes": {"cat": 2, "dog": 2}}}
    assert facts["size"] == [4, 4] and facts["channels"] == 1


def test_flags_read_as_the_table_data_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ddpm(str(folder), "--json", "--size", "6", "8", "--channels", "3", "--holdout", "1") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["size"] == [6, 8] and facts["channels"] == 3
    assert facts["splits"]["test"]["images"] == 1


def test_a_configuration_is_read_as_training_reads_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f'[data]\npath = "{folder}"\nsize = 8\n'
    network = '[unet]\npreset = "small"\nsample_size = 8\n[training]\nnum_steps = 1\n'
    (tmp_path / "a.toml").write_text(data + network)
    assert ddpm(str(tmp_path / "a.toml"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["size"] == [8, 8] and facts["channels"] == 3
    assert facts["warnings"][0] == "4 grey images are converted to RGB"


@pytest.fixture
def toml(folder: Path, tmp_path: Path) -> Path:
    """A configuration for images of 4 x 4 pixels, whose table has them made 8 x 8."""
    data = f'[data]\npath = "{folder}"\nsize = 8\nholdout = 1\n'
    network = '[unet]\npreset = "small"\nsample_size = 8\n[training]\nnum_steps = 1\n'
    (tmp_path / "my.TOML").write_text(data + network)
    return tmp_path / "my.TOML"


def test_flags_take_the_place_of_what_a_configuration_says(
    toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ddpm(str(toml), "--json", "--holdout", "2", "--labels", "none") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["splits"]["test"] == {"images": 2, "classes": {}} and facts["size"] == [8, 8]
    assert ddpm(str(toml), "--json", "--holdout", "0") == 0
    assert "test" not in json.loads(capsys.readouterr().out)["splits"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "16"], "the images are (3, 16, 16), but the network takes (3, 8, 8); images"),
        (["--channels", "1"], "the images are (1, 8, 8), but the network takes (3, 8, 8)"),
    ],
)
def test_data_that_training_would_refuse_are_refused(
    flags: list[str], message: str, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ddpm(str(toml), *flags) == 2
    told = capsys.readouterr()
    assert message in told.err and told.out == ""


def test_a_sheet_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sheet.png").mkdir()
    assert ddpm("nothing", "--grid", str(tmp_path / "sheet.png")) == 2
    assert f"--grid: '{tmp_path}/sheet.png' is not allowed: it is not a" in capsys.readouterr().err


def test_a_contact_sheet_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.parent / "new" / "sheet.png"
    assert ddpm(str(folder), "--grid", str(out)) == 0
    assert "4 images, 4 x 4 pixels, grey" in capsys.readouterr().out
    with Image.open(out) as sheet:
        assert sheet.height == 2 * 48


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nothing"], "'nothing' is neither a built-in data set"),
        ([".", "--size", "0"], "--size: 0 is not allowed; it must be 1..16384"),
        ([".", "--size", "1", "2", "3"], "--size: (1, 2, 3) is not allowed"),
        ([".", "--holdout", "1.5"], "--holdout: 1.5 is not allowed"),
        ([".", "--holdout", "inf"], "--holdout: inf is not allowed; it must be a share below 1"),
        ([".", "--holdout", "nan"], "--holdout: nan is not allowed"),
        ([".", "--background", "wite"], "'wite' is not allowed"),
        ([".", "--grid", "a.xyz"], "--grid: a.xyz is not allowed; the suffix is .png"),
        (["no.toml"], "no.toml"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ddpm(*flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
