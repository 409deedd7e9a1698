"""A server whose checkpoint is a model of the Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.server import Server
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub, read_folder, serve
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    folder = save_tiny(tmp_path_factory.mktemp("hub") / "tiny")
    with serve(FakeHub({COMMIT: read_folder(folder)})) as fake:
        yield fake


def start(fake: FakeHub, folder: Path, checkpoint: str, **variables: str) -> Server:
    """A server that has its cache of the Hub in a folder."""
    hub = {"HF_ENDPOINT": fake.url, "HF_HOME": str(folder / "hub"), **variables}
    return Server(folder / "server.log", f"--checkpoint={checkpoint}", variables=hub)


@pytest.mark.slow
def test_it_serves_a_model_of_the_hub_and_starts_again_without_it(
    fake: FakeHub, tmp_path: Path
) -> None:
    with start(fake, tmp_path, REPOSITORY) as server:
        model = server.client.get("/model").json()
        assert (model["source"], model["revision"]) == (REPOSITORY, COMMIT)
        assert server.client.post("/sample", json={"n": 1}).status_code == 200
    log = server.log.read_text()
    assert f"fetching {REPOSITORY}@{COMMIT}: 5 files" in log
    assert f"it serves {REPOSITORY}@{COMMIT}" in log
    with start(fake, tmp_path, REPOSITORY, HF_HUB_OFFLINE="1") as server:
        assert server.client.get("/model").json()["revision"] == COMMIT
    assert "HF_HUB_OFFLINE is set; the cached revision" in server.log.read_text()


@pytest.mark.parametrize(
    ("checkpoint", "variables", "said"),
    [
        ("tests/other", {}, "no such folder here; tests/other: the Hub has no such model"),
        (REPOSITORY, {"DDPM_HUB_MAX_BYTES": "1000"}, "its weights have"),
        (REPOSITORY, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, and it is not in the cache"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    checkpoint: str, variables: dict[str, str], said: str, fake: FakeHub, tmp_path: Path
) -> None:
    server = start(fake, tmp_path, checkpoint, **variables)
    assert server.process.wait(60) == 2
    server.client.close()
    (line,) = server.log.read_text().splitlines()
    assert line.startswith(f"ddpm serve: checkpoint: '{checkpoint}': ") and said in line
