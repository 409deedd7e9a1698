"""A Hub on this machine with a tiny model, and an empty cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusion.sources.hub_cache import Cache
from diffusion.sources.hub_client import Client
from diffusion.sources.hub_fetch import Hub
from tests.fake_hub import COMMIT, FakeHub, read_folder, serve
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return read_folder(save_tiny(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def fake(tiny_files: dict[str, bytes]) -> Iterator[FakeHub]:
    others = {"README.md": b"# tiny", "unet/diffusion_pytorch_model.bin": b"a pickle"}
    with serve(FakeHub({COMMIT: {**tiny_files, **others}})) as fake:
        yield fake


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that the client waited, or would have."""
    return []


@pytest.fixture
def hub(fake: FakeHub, pauses: list[float], tmp_path: Path) -> Hub:
    return Hub(Client(fake.url, pause=pauses.append), Cache(tmp_path / "cache"))
