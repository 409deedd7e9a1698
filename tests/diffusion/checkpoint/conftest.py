"""A checkpoint that a test may change."""

import shutil
from pathlib import Path

import pytest

from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 1000 timesteps, not to be written to."""
    return save_tiny(tmp_path_factory.mktemp("unchanged") / "tiny", num_timesteps=1000)


@pytest.fixture
def folder(unchanged: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(unchanged, tmp_path / "tiny"))
