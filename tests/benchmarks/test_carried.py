"""Parts that are carried: what comes back is what went in, or an error that says what is wrong."""

from pathlib import Path

import pytest

from benchmarks import carried
from benchmarks.carried import CarriedError, pack, read_headers, unpack


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 8 kB, so that a few kilobytes need several."""
    size = 2 * carried.HEADER_BYTES
    monkeypatch.setattr(carried, "PART_BYTES", size)
    monkeypatch.setattr(carried, "ROOM", carried.MOST_PARTS * (size - carried.HEADER_BYTES))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 32)
    (tmp_path / "log").write_text("a line\n")
    return {"run/weights": tmp_path / "weights", "log": tmp_path / "log"}


@pytest.fixture
def parts(files: dict[str, Path], tmp_path: Path) -> Path:
    """The folder of three parts."""
    assert len(pack(files, tmp_path / "stage", step=7)) == 3
    return tmp_path / "stage"


def test_files_come_back_under_their_names(parts: Path, tmp_path: Path) -> None:
    assert max(path.stat().st_size for path in parts.iterdir()) <= carried.PART_BYTES
    assert {header.step for header in read_headers(parts)} == {7}
    unpack(parts, tmp_path / "there")
    assert (tmp_path / "there" / "run" / "weights").read_bytes() == bytes(range(256)) * 32
    assert (tmp_path / "there" / "log").read_text() == "a line\n"


def test_a_missing_part_is_named(parts: Path, tmp_path: Path) -> None:
    (parts / "stage.part-2-of-3").unlink()
    with pytest.raises(CarriedError, match=r"missing: stage.part-2-of-3; copy all 3 parts there"):
        unpack(parts, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("at", [0, 300, -1], ids=["its header", "the rest of it", "its bytes"])
def test_a_damaged_part_is_named(parts: Path, tmp_path: Path, at: int) -> None:
    path = parts / "stage.part-2-of-3"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CarriedError, match="part-2-of-3 is damaged: .*; copy it again"):
        unpack(parts, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_part_that_was_cut_is_named(parts: Path, tmp_path: Path) -> None:
    path = parts / "stage.part-1-of-3"
    for size in (5000, 50, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(CarriedError, match="part-1-of-3 is damaged"):
            unpack(parts, tmp_path / "there")


def test_parts_of_two_sessions_are_told_apart(
    parts: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    old = (parts / "stage.part-2-of-3").read_bytes()
    pack(files | {"more": files["log"]}, parts, step=9)
    (parts / "stage.part-2-of-3").write_bytes(old)
    with pytest.raises(CarriedError, match=r"of another set \(step 7\) than of step 9"):
        unpack(parts, tmp_path / "there")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    with pytest.raises(CarriedError, match="it holds no stage.part-1-of-…"):
        unpack(tmp_path / "stage", tmp_path / "there")


def test_what_would_need_too_many_parts_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    files["run/weights"].write_bytes(bytes(carried.ROOM))
    with pytest.raises(CarriedError, match="do not fit into 8 parts of 8,192: take a smaller net"):
        pack(files, tmp_path / "stage", step=7)
    assert not (tmp_path / "stage").exists()
