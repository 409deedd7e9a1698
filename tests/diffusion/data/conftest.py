"""What the tests of the data share: a cache of their own, and a server to download from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.diffusion.data.site import Site, serve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache: empty, and this test's alone."""
    folder = tmp_path / "the cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "ddpm"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A web server with files of one's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    with serve(folder) as running:
        yield running
