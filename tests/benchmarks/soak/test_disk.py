"""A disk that is full when the soak wants it."""

import os
from pathlib import Path

import pytest

from benchmarks.soak.disk import Disk, disk

SIZE = 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks")
def test_a_full_disk_has_no_room_until_it_is_emptied(tmp_path: Path) -> None:
    with disk(tmp_path, SIZE) as made:
        if not made.is_own:
            pytest.skip("this root may not mount")
        made.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "file").write_bytes(b"content")
        made.empty()
        (tmp_path / "file").write_bytes(b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_others_disk_is_made_read_only_instead(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    made = Disk(tmp_path, is_own=False)
    made.fill()
    assert not any(path.stat().st_mode & 0o222 for path in (tmp_path, tmp_path / "job"))
    made.empty()
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path, tmp_path / "job"))
