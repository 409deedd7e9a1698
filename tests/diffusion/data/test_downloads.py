"""Downloads, for real, from a server on this machine: verified, cached, and never half done."""

from pathlib import Path

import pytest

from diffusion.data.downloads import RemoteFile, fetch
from diffusion.data.images import DataError
from tests.diffusion.data.site import Site


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    for _ in range(2):
        assert fetch(file, tmp_path / "cache").read_bytes() == b"hello"
    assert site.asked == ["/data.bin"]


def test_a_damaged_cached_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    fetch(file, tmp_path / "cache").write_bytes(b"hel")
    assert fetch(file, tmp_path / "cache").read_bytes() == b"hello"


def test_other_bytes_than_published_are_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    (site.folder / "data.bin").write_bytes(b"evil!")
    with pytest.raises(DataError, match="data.bin: SHA-256 is .* as published"):
        fetch(file, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_failed_download_names_the_address_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing.bin: download failed: .*404"):
        fetch(RemoteFile(site.url + "missing.bin", "0"), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
