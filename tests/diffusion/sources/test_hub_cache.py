"""The cache on disk is the one that huggingface_hub, and so diffusers, reads and writes."""

import os
from pathlib import Path

import huggingface_hub
import pytest

from diffusion.checkpoint import open_checkpoint
from diffusion.sources.hub_cache import Cache, repository_of
from diffusion.sources.hub_client import Client
from diffusion.sources.hub_fetch import Hub
from diffusion.sources.hub_id import HubId
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub

MODEL = HubId(REPOSITORY)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def by_hand(cache: Path, files: dict[str, bytes]) -> Path:
    """A cache's folder with these files of a commit, to which main points."""
    repository = cache / "models--tests--tiny"
    (repository / "blobs").mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        blob = repository / "blobs" / str(number)
        blob.write_bytes(content)
        path = repository / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


def offline(cache: Path) -> Hub:
    return Hub(Client("http://127.0.0.1:9", pause=lambda _: None), Cache(cache))


def test_a_cache_made_by_hand_is_used(tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    by_hand(tmp_path, tiny_files)
    folder, commit = offline(tmp_path).fetch(MODEL)
    assert commit == COMMIT
    assert open_checkpoint(folder).name == "tiny"


def test_what_the_library_downloaded_is_used(fake: FakeHub, tmp_path: Path) -> None:
    huggingface_hub.snapshot_download(REPOSITORY, cache_dir=tmp_path, endpoint=fake.url)
    fake.asked.clear()
    assert open_checkpoint(offline(tmp_path).fetch(MODEL)[0]).name == "tiny"
    Hub(Client(fake.url), Cache(tmp_path)).fetch(MODEL)
    assert fake.fetched() == []


def test_the_library_uses_what_was_fetched_here(hub: Hub, fake: FakeHub) -> None:
    folder, _ = hub.fetch(MODEL)
    fake.asked.clear()
    cache = hub.cache.folder
    found = huggingface_hub.snapshot_download(REPOSITORY, cache_dir=cache, local_files_only=True)
    assert found == str(folder)
    # Online it finds the same names of blobs, and takes nothing again.
    huggingface_hub.hf_hub_download(REPOSITORY, WEIGHTS, cache_dir=cache, endpoint=fake.url)
    assert all(asked.startswith("HEAD") or "/api/" in asked for asked in fake.asked)
    scanned = huggingface_hub.scan_cache_dir(cache)
    assert not scanned.warnings
    (repository,) = scanned.repos
    assert (repository.repo_id, set(repository.refs)) == (REPOSITORY, {"main"})
    assert repository.nb_files == 5


def test_a_card_that_another_program_left_out_is_fetched(hub: Hub, fake: FakeHub) -> None:
    cache = hub.cache.folder
    huggingface_hub.snapshot_download(
        REPOSITORY, cache_dir=cache, endpoint=fake.url, ignore_patterns="model_card.json"
    )
    assert Cache(cache).find(HubId(REPOSITORY, COMMIT)) is None
    fake.asked.clear()
    assert open_checkpoint(hub.fetch(HubId(REPOSITORY, COMMIT))[0]).card.name == "tiny"
    assert fake.fetched() == ["model_card.json"]


def test_what_a_killed_process_began_is_removed_a_day_later(hub: Hub, fake: FakeHub) -> None:
    folder, _ = hub.fetch(MODEL)
    blobs = folder.parent.parent / "blobs"
    old, new = blobs / "old.incomplete", blobs / "new.incomplete"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    fake.commits[COMMIT]["model_card.json"] += b" "
    hub.fetch(MODEL)
    assert new.exists() and not old.exists()


@pytest.mark.parametrize("lost", [WEIGHTS, "unet/config.json"])
def test_half_a_model_is_not_used(lost: str, tmp_path: Path, tiny_files: dict[str, bytes]) -> None:
    by_hand(tmp_path, {name: content for name, content in tiny_files.items() if name != lost})
    assert Cache(tmp_path).find(MODEL) is None


def test_a_link_to_a_blob_that_was_deleted_is_fetched_again(hub: Hub, fake: FakeHub) -> None:
    folder, _ = hub.fetch(MODEL)
    (folder / WEIGHTS).resolve().unlink()
    fake.asked.clear()
    assert open_checkpoint(hub.fetch(HubId(REPOSITORY, COMMIT))[0])
    assert fake.fetched() == [WEIGHTS]


@pytest.mark.parametrize("text", ["", "x", "../../../evil", "\xff"])
def test_a_branchs_file_that_is_damaged_is_passed_over(
    text: str, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    repository = by_hand(tmp_path, tiny_files)
    (repository / "refs" / "main").write_bytes(text.encode("latin-1"))
    assert Cache(tmp_path).find(MODEL) is None


def test_without_links_the_files_are_there_themselves(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder, _ = hub.fetch(MODEL)
    assert not (folder / WEIGHTS).is_symlink()
    assert open_checkpoint(folder)


def test_a_cache_that_may_only_be_read_is_used(
    hub: Hub, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = hub.fetch(MODEL)
    fake.branches["v1"] = COMMIT

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert hub.fetch(HubId(REPOSITORY, "v1"))[0] == folder


def test_only_a_snapshots_folder_names_a_repository(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b-c" / "snapshots" / COMMIT
    assert repository_of(snapshot) == ("a/b-c", COMMIT)
    assert repository_of(tmp_path / "models--a--b" / "snapshots" / "main") is None
    assert repository_of(tmp_path / "datasets--a--b" / "snapshots" / COMMIT) is None
    assert repository_of(tmp_path / "models--a" / "snapshots" / COMMIT) is None
    assert repository_of(tmp_path / "model") is None
