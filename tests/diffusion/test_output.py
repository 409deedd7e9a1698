"""Where images go: refused before any are made, and never half written."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion import pixels
from diffusion.output import Output, OutputError, check_file

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4, 1)


def write(path: Path, images: np.ndarray = IMAGES, *, force: bool = False) -> None:
    Output.at(path, force=force).write(images)


def refusal(path: Path, *, force: bool = False) -> str:
    """Why nothing can be written there, after the path."""
    with pytest.raises(OutputError) as error:
        Output.at(path, force=force)
    beginning = f"out: {str(path)!r} is not allowed: "
    assert str(error.value).startswith(beginning)
    return str(error.value).removeprefix(beginning)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ["a.npz", "a.NPZ"])
def test_an_array_is_one_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert files(tmp_path) == [name]
    with np.load(tmp_path / name) as array:
        np.testing.assert_array_equal(array["images"], IMAGES)


@pytest.mark.parametrize("name", ["a.png", "a.PNG"])
def test_a_grid_is_one_picture(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    with Image.open(tmp_path / name) as grid:
        np.testing.assert_array_equal(np.asarray(grid), pixels.tile(IMAGES)[:, :, 0])


def test_a_path_without_an_ending_is_a_folder_of_pictures(tmp_path: Path) -> None:
    write(tmp_path / "many")
    assert files(tmp_path / "many") == ["000000.png", "000001.png", "000002.png"]
    with Image.open(tmp_path / "many" / "000002.png") as image:
        np.testing.assert_array_equal(np.asarray(image), IMAGES[2, :, :, 0])


@pytest.mark.parametrize("name", ["a.npz", "a.png", "many"])
def test_folders_that_are_missing_are_made_when_it_is_written(tmp_path: Path, name: str) -> None:
    output = Output.at(tmp_path / "no" / "such" / name, force=False)
    assert files(tmp_path) == []
    output.write(IMAGES)
    assert (tmp_path / "no" / "such" / name).exists()


@pytest.mark.parametrize("name", ["out.v2", "grid.pgn", "grid.jpg", "archive.zip"])
def test_another_ending_is_refused_with_those_that_are_allowed(tmp_path: Path, name: str) -> None:
    reason = refusal(tmp_path / name)
    assert reason == (
        "the ending must be .png for a grid, .npz for an array, or no ending for a folder of PNGs"
    )


def test_a_folder_that_exists_may_have_any_ending(tmp_path: Path) -> None:
    (tmp_path / "out.v2").mkdir()
    write(tmp_path / "out.v2")
    assert "000000.png" in files(tmp_path / "out.v2")


@pytest.mark.parametrize("name", ["a.npz", "a.png"])
def test_a_file_that_exists_is_replaced_with_force_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("precious")
    assert refusal(path) == "the file exists; --force replaces it"
    assert path.read_text() == "precious"
    write(path, force=True)
    assert files(tmp_path) == [name] and path.stat().st_size > len("precious")


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "target.png", tmp_path / "link.png"
    target.write_text("old")
    link.symlink_to(target)
    write(link, force=True)
    assert link.is_symlink() and target.read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_pictures_is_replaced_with_force_alone(tmp_path: Path) -> None:
    write(tmp_path / "many")
    reason = refusal(tmp_path / "many")
    assert reason == "the folder holds pictures, such as 000000.png; --force replaces them"
    write(tmp_path / "many", IMAGES[:1], force=True)
    assert files(tmp_path / "many") == ["000000.png"], "none is left of those before"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for force in (False, True):
        assert refusal(tmp_path, force=force) == (
            "the folder holds other files, such as thesis.tex"
        )


def test_hidden_files_in_a_folder_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    write(tmp_path)
    write(tmp_path, force=True)
    assert ".DS_Store" in files(tmp_path)


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "a.png") == f"{tmp_path / 'file'} is a file, not a folder"
    assert refusal(tmp_path / "file").startswith("it is a file; the ending must be .png")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert refusal(tmp_path / "a.png", force=True) == "it is not a file"


def test_a_folder_that_may_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        assert dir == tmp_path
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    expected = f"the folder {tmp_path} cannot be written to: Permission denied"
    for name in ("a.png", "no/such/a.npz", "many"):
        assert refusal(tmp_path / name) == expected


def test_a_name_that_the_file_system_does_not_take_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300 + ".png")) == "File name too long"


def test_the_longest_name_that_the_file_system_takes_is_written(tmp_path: Path) -> None:
    name = "x" * 251 + ".png"
    write(tmp_path / name)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.png", "many"])
def test_five_channels_are_an_array_and_no_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"have 5 channels; an array, \.npz, holds these"):
        Output.at(tmp_path / name, force=False).check_channels(5)
    array = Output.at(tmp_path / "a.npz", force=False)
    array.check_channels(5)
    array.write(np.zeros((2, 4, 4, 5), np.uint8))
    with np.load(tmp_path / "a.npz") as made:
        assert made["images"].shape == (2, 4, 4, 5)


@pytest.mark.parametrize("name", ["a.npz", "a.png", "many"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / name)
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    output = Output.at(tmp_path / name, force=True)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("PIL.Image.Image.save", full)
    monkeypatch.setattr("numpy.savez_compressed", full)
    with pytest.raises(OutputError, match="No space left on device"):
        output.write(IMAGES)
    after = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    assert {**after, name: 0} == {**before, name: 0}  # a folder's own time may change


def test_a_file_that_cannot_be_written_is_told_by_the_name_of_its_flag(tmp_path: Path) -> None:
    check_file(tmp_path / "new" / "a.png", "--grid")
    with pytest.raises(OutputError, match="^--grid: .* is not allowed: it is not a file"):
        check_file(tmp_path, "--grid")
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="^--grid: .*a is a file, not a folder"):
        check_file(tmp_path / "a" / "b.png", "--grid")
