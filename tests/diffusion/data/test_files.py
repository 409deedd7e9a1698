"""Finding image files: what is hidden, broken or hostile is left out and named."""

import os
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from diffusion.data import files
from diffusion.data.files import (
    MAX_VISITS,
    File,
    Listing,
    UnreadableError,
    Zip,
    file_in,
    is_hidden,
    list_folder,
)
from diffusion.data.images import DataError
from tests.diffusion.data.samples import png, put, zipped


def names(listing: Listing) -> list[str]:
    return [str(file.path) for file in listing.files]


def left_out(listing: Listing) -> dict[str, str]:
    return {each.path: each.why for each in listing.left_out}


def test_image_files_are_listed_in_the_order_of_their_paths(tmp_path: Path) -> None:
    put(tmp_path, {"b/1.png": png(), "a.JPG": png(), "b/0.webp": png(), "c.jpeg": png()})
    listing = list_folder(tmp_path)
    assert names(listing) == ["a.JPG", "b/0.webp", "b/1.png", "c.jpeg"]
    assert listing.files[0].read() == png()


def test_other_files_are_counted_by_suffix(tmp_path: Path) -> None:
    put(tmp_path, {"0.png": png(), "a.txt": b"", "b.txt": b"", "LICENSE": b""})
    assert list_folder(tmp_path).warnings() == [
        "3 files are not images (2 .txt, 1 without a suffix)"
    ]
    assert Listing([]).warnings() == []


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._0.png", "__MACOSX", ".ipynb_checkpoints", "@eaDir", "Thumbs.db", ".git"],
)
def test_the_litter_of_systems_is_hidden(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden("0.png")


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, {
        "cat/0.png": png(), "cat/._0.png": b"x", "cat/Thumbs.db": b"x", "__MACOSX/cat/0.png": b"",
        ".ipynb_checkpoints/0-checkpoint.png": png(), "@eaDir/0.png": png(),
    })  # fmt: skip
    listing = list_folder(tmp_path)
    assert names(listing) == ["cat/0.png"]
    assert left_out(listing) == dict.fromkeys(
        ["cat/._0.png", "__MACOSX", ".ipynb_checkpoints", "@eaDir"], "hidden"
    )
    assert listing.warnings() == []


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", {"0.png": png(1), "1.png": png(2)})
    data = tmp_path / "data"
    data.mkdir()
    (data / "cat").symlink_to(tmp_path / "elsewhere")
    (data / "x.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    listing = list_folder(data)
    assert names(listing) == ["cat/0.png", "cat/1.png", "x.png"]
    assert listing.files[2].read() == png(2)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    put(tmp_path, {"a/b/0.png": png()})
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    listing = list_folder(tmp_path)
    assert names(listing) == ["a/b/0.png"]
    assert left_out(listing) == {"a/b/up": "a link to a folder that it lies in"}


def test_two_links_may_lead_to_one_folder(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", {"0.png": png()})
    for split in ("train", "val", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "cat").symlink_to(tmp_path / "elsewhere")
    listing = list_folder(tmp_path / "data")
    assert names(listing) == ["test/cat/0.png", "train/cat/0.png", "val/cat/0.png"]
    assert listing.left_out == []


def test_links_that_double_at_every_level_end_and_are_told_of(tmp_path: Path) -> None:
    for level in range(30):
        folder = tmp_path / f"d{level}"
        folder.mkdir()
        for name in ("x", "y"):
            (folder / name).symlink_to(tmp_path / f"d{level + 1}")
    put(tmp_path / "d30", {"0.png": png()})
    listing = list_folder(tmp_path / "d0")
    assert len(listing.files) == MAX_VISITS
    assert names(listing)[0] == "x/" * 30 + "0.png"
    assert set(left_out(listing).values()) == {
        f"a folder to which {MAX_VISITS} other paths lead already"
    }


def test_folders_may_lie_deep_in_one_another(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1100):
        folder /= "d"
        os.mkdir(folder)
    put(folder, {"0.png": png()})
    try:
        assert names(list_folder(tmp_path)) == ["d/" * 1100 + "0.png"]
    finally:  # what removes the tests' folders goes down by recursion
        (folder / "0.png").unlink()
        for each in (folder, *folder.parents)[:1100]:
            each.rmdir()


def test_a_link_to_itself_is_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "b"):
        (tmp_path / name).symlink_to(tmp_path / name)
    listing = list_folder(tmp_path)
    assert "symbolic links" in left_out(listing)["a.png"] and not listing.files


def test_a_file_is_found_by_its_path_or_the_reason_is(tmp_path: Path) -> None:
    put(tmp_path, {"a/x.json": b"{}"})
    found = file_in(tmp_path, PurePosixPath("a/x.json"))
    assert isinstance(found, File) and found.read() == b"{}" and found.size == 2
    assert file_in(tmp_path, PurePosixPath("a")) == "not a regular file"
    assert "No such file" in str(file_in(tmp_path, PurePosixPath("b")))


def test_what_is_not_a_regular_file_is_left_out_and_not_opened(tmp_path: Path) -> None:
    put(tmp_path, {"0.png": png()})
    (tmp_path / "broken.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert left_out(list_folder(tmp_path)) == {
        "broken.png": "a link to nothing",
        "folder.png": "a folder with the name of an image",
        "pipe.png": "not a regular file",
    }


def test_a_file_too_large_is_left_out_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"0.png": png()})
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    assert "at most 10 are allowed" in left_out(list_folder(tmp_path))["0.png"]


def test_a_file_that_vanishes_is_unreadable(tmp_path: Path) -> None:
    put(tmp_path, {"0.png": png()})
    file = list_folder(tmp_path).files[0]
    (tmp_path / "0.png").unlink()
    with pytest.raises(UnreadableError, match="cannot be read: No such file"):
        file.read()


def test_a_file_that_changes_has_another_stamp(tmp_path: Path) -> None:
    put(tmp_path, {"0.png": png(1)})
    before = list_folder(tmp_path).files[0].stamp
    assert list_folder(tmp_path).files[0].stamp == before
    times = (tmp_path / "0.png").stat()
    (tmp_path / "0.png").write_bytes(png(2))  # of the same size
    os.utime(tmp_path / "0.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list_folder(tmp_path).files[0].stamp != before


# Zips


def listed(path: Path) -> Listing:
    return Zip(path).listing()


@pytest.mark.parametrize("name", ["./cat/0.png", "cat//0.png", "cat\\0.png", "cat/0.png"])
def test_paths_are_read_as_unpacking_would_make_them(name: str, tmp_path: Path) -> None:
    listing = listed(zipped(tmp_path / "a.zip", {name: png(7)}))
    assert names(listing) == ["cat/0.png"]
    assert listing.files[0].read() == png(7)


def test_members_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"0.png": png(1), "1.png": png(2), "2.png": png(3)})
    raw = bytearray(path.read_bytes())
    central = [i for i in range(len(raw)) if raw[i : i + 4] == b"PK\1\2"]
    raw[central[1] + 8] |= 1  # encrypted
    raw[central[2] + 10] = 9  # deflate64
    path.write_bytes(raw)
    listing = listed(path)
    assert names(listing) == ["0.png", "2.png"]
    assert left_out(listing) == {"1.png": "encrypted"}
    with pytest.raises(UnreadableError, match="cannot be unpacked: .*compression"):
        listing.files[1].read()


def test_a_damaged_member_is_unreadable(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"0.png": png()})
    raw = bytearray(path.read_bytes())
    raw[60] ^= 255
    path.write_bytes(raw)
    with pytest.raises(UnreadableError, match="Bad CRC-32"):
        listed(path).files[0].read()


def test_paths_out_of_the_archive_and_doubles_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    content = {"../0.png": png(), "/1.png": png(), "a.png": png(), "./a.png": png(),
               "__MACOSX/a.png": b"", "readme.txt": b"", "b/": b""}  # fmt: skip
    listing = listed(zipped(tmp_path / "a.zip", content))
    assert names(listing) == ["a.png"]
    assert left_out(listing) == {
        "../0.png": "its path leads out of the archive",
        "/1.png": "its path leads out of the archive",
        "a.png": "twice in it",
        "__MACOSX/a.png": "hidden",
    }
    assert listing.warnings() == ["1 file is not an image (1 .txt)"]


def test_a_member_too_large_is_left_out_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10_000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(10**6))
    assert "1000000 bytes; at most 10000" in left_out(listed(path))["bomb.png"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + b"\0" * 40])
def test_a_file_that_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="a.zip: not a whole zip"):
        Zip(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["x.json", "./x.json", "a/../x.json"])
def test_a_member_is_found_by_the_path_that_unpacking_would_give_it(
    name: str, tmp_path: Path
) -> None:
    found = Zip(zipped(tmp_path / "a.zip", {name: b"{}"})).find(PurePosixPath("x.json"))
    if ".." in name:
        assert found is None
    else:
        assert isinstance(found, File) and found.read() == b"{}" and found.size == 2


def test_a_member_that_is_larger_than_it_promises_takes_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(10**6))
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\1\2")
    raw[central + 24 : central + 28] = struct.pack("<I", 100)
    path.write_bytes(raw)
    with pytest.raises(UnreadableError, match="cannot be unpacked"):
        listed(path).files[0].read()


def test_a_member_of_an_archive_that_was_written_anew_has_another_stamp(tmp_path: Path) -> None:
    stamps = []
    for time in (1, 2):
        path = zipped(tmp_path / "a.zip", {"0.png": png()})
        os.utime(path, (time, time))
        stamps.append(listed(path).files[0].stamp)
    assert stamps[0] != stamps[1]
