"""Files that are read while the server runs: none of them can keep it."""

import os
from pathlib import Path

import pytest

from app.small_file import MAX_BYTES, check_small_file


def test_a_regular_file_may_be_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MAX_BYTES))
    (tmp_path / "link").symlink_to("file")
    check_small_file(str(tmp_path / "file"))
    check_small_file(str(tmp_path / "link"))


def test_what_would_be_read_for_ever_may_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(bytes(MAX_BYTES + 1))
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "huge", "it has 1048577 bytes; 1048576 are allowed"),
    ):
        with pytest.raises(OSError, match=reason):
            check_small_file(str(path))
