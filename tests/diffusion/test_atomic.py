"""Files and folders written whole or not at all."""

from pathlib import Path

import pytest

from diffusion.atomic import atomic_file, atomic_folder


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as partial:
        (partial / "a").write_text("half")
        raise RuntimeError("killed")
    assert (target / "a").read_text() == "old"
    with atomic_folder(target) as partial:
        (partial / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target], "nothing is left beside it"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "a.png"
    with atomic_file(target) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError), atomic_file(target) as file:
        file.write(b"half")
        raise RuntimeError("killed")
    assert target.read_bytes() == b"old"
    with atomic_file(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target], "nothing is left beside it"
    assert target.stat().st_mode & 0o777 == 0o644, "others may read it"
