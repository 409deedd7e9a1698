"""What a user or a client may give as a checkpoint's source."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffusion.folders import MODELS
from diffusion.sources.errors import CheckpointError
from diffusion.sources.find import Location, find_checkpoint, resolve
from diffusion.sources.hub_fetch import Hub
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub
from tests.tiny import save_tiny


def refusal(source: str, **options: object) -> str:
    with pytest.raises(CheckpointError) as refused:
        resolve(source, **options)  # type: ignore[arg-type]
    return str(refused.value)


def test_a_name_is_a_built_in_model_and_a_path_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("mnist") == Location(MODELS / "mnist", "mnist", "mnist")
    assert find_checkpoint("./mnist") == Location(Path("mnist"), "./mnist")


def test_what_is_nowhere_is_told_with_the_built_in_names() -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: no such folder.*\(cifar10, emoji, mnist"):
        find_checkpoint("nowhere")


@pytest.mark.parametrize("name", ["model.ckpt", "config.json", "runs/model.pt"])
def test_a_file_is_told_from_a_folder_and_from_a_model_of_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub, fake: FakeHub
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"a file; a checkpoint is a folder.*`ddpm import`"):
        find_checkpoint(name, hub=hub)
    assert fake.asked == []


@pytest.mark.parametrize("end", ["", "/tree/main", "/blob/main/unet/config.json"])
def test_an_address_on_the_hub_is_answered_with_the_models_name(end: str) -> None:
    with pytest.raises(CheckpointError, match=r"; name the model itself: google/ddpm-cifar10-32$"):
        find_checkpoint(f"https://huggingface.co/google/ddpm-cifar10-32{end}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("hf:tiny", "hf:tiny: not hf:owner/name[@revision] of a model on the Hub"),
        ("", ": no such folder, and not a built-in model"),
        ("x" * 5000, "x…: no such folder, and not a built-in model"),
    ],
)
def test_what_can_be_no_folder_is_refused_in_short(source: str, reason: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        find_checkpoint(source)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_folder_that_is_here_comes_before_the_hub(
    hub: Hub, fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(REPOSITORY, hub=hub).origin == REPOSITORY
    fake.asked.clear()
    save_tiny(tmp_path / REPOSITORY)
    assert find_checkpoint(REPOSITORY, hub=hub) == Location(Path(REPOSITORY), REPOSITORY)
    assert fake.asked == []
    assert find_checkpoint(f"hf:{REPOSITORY}", hub=hub).origin == REPOSITORY


@pytest.mark.parametrize("source", ["./a/b", "/a/b", "a/b/c", Path("a/b")])
def test_a_path_is_never_asked_of_the_hub(source: str | Path, hub: Hub, fake: FakeHub) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoint(source, hub=hub)
    assert fake.asked == []


def test_a_model_of_the_hub_is_told_with_its_commit(hub: Hub) -> None:
    found = find_checkpoint(f"{REPOSITORY}@main", hub=hub)
    assert (found.source, found.origin) == (f"{REPOSITORY}@main", REPOSITORY)
    assert found.pinned == f"{REPOSITORY}@{COMMIT}"
    assert found.name == "tiny"


def test_a_misspelt_folder_is_told_as_one(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="runs/model: no such folder here; .*no such model"):
        find_checkpoint("runs/model", hub=hub)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion.sources.hub_fetch.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"pip install 'ddpm-service\[hub\]'"):
        find_checkpoint("a/b")


@pytest.mark.parametrize("source", ["a/b", "a/b@main", "hf:a/b"])
def test_a_client_may_name_no_model_of_the_hub_unless_allowed(source: str, fake: FakeHub) -> None:
    assert "may load these models of the Hub: none" in refusal(source)
    assert "may load these models of the Hub: google/*" in refusal(source, allowed=["google/*"])
    assert fake.asked == []


@pytest.mark.parametrize("pattern", [REPOSITORY, "tests/*", "*/t?ny"])
def test_a_client_may_name_what_is_allowed(pattern: str, hub: Hub) -> None:
    assert resolve(REPOSITORY, ["google/*", pattern], hub=hub).revision == COMMIT


def test_a_client_may_name_what_the_operator_named(hub: Hub, tmp_path: Path) -> None:
    folder = str(save_tiny(tmp_path / "model"))
    assert resolve(folder, named=[folder], hub=hub).folder == Path(folder)
    assert resolve(REPOSITORY, named=[REPOSITORY], hub=hub).revision == COMMIT
    assert resolve("mnist").origin == "mnist"


@pytest.mark.parametrize("source", ["/etc", ".", "..", "models", "", "x" * 5000, "a\0b", "./mnist"])
def test_a_client_learns_nothing_of_the_folders(source: str) -> None:
    assert "not a built-in model" in refusal(source, allowed=["*/*"])


def test_a_folder_here_is_not_meant_by_a_clients_id(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / REPOSITORY)
    assert resolve(REPOSITORY, ["tests/*"], hub=hub).revision == COMMIT


def test_neither_torch_nor_the_hubs_library_is_loaded_for_it() -> None:
    check = (
        "import sys, diffusion.sources.find as s; s.find_checkpoint('mnist');"
        "sys.exit(bool({'torch', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=MODELS.parent).returncode == 0
