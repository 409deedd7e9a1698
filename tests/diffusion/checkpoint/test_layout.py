"""Where the files of a checkpoint are."""

import os
from pathlib import Path

import pytest
import torch

from diffusion.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from diffusion.checkpoint.layout import MAX_FOLDERS, Layout, find_layout
from tests.tiny import save_tiny


def made(folder: Path, *files: str) -> Path:
    """A folder with these files, which hold nothing; a name that ends in / is a folder."""
    for name in files:
        path = folder / name
        path.mkdir(parents=True) if name.endswith("/") else path.parent.mkdir(
            parents=True, exist_ok=True
        )
        if not name.endswith("/"):
            path.write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("files", "network", "scheduler"),
    [
        (
            ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"],
            "unet",
            "scheduler/scheduler_config.json",
        ),
        (["config.json", "scheduler_config.json"], ".", "scheduler_config.json"),
        (["config.json"], ".", None),
        (["unet/config.json"], "unet", None),
        (["unet/config.json", "scheduler_config.json"], "unet", "scheduler_config.json"),
        (["unet_ema/config.json"], "unet_ema", None),
        (["unet/config.json", "unet_ema/config.json"], "unet", None),
        (["config.json", "unet_ema/config.json"], ".", None),
        (["net/config.json", "notes/", "README.md"], "net", None),
    ],
    ids=str,
)
def test_network_and_scheduler_are_where_diffusers_puts_them(
    files: list[str], network: str, scheduler: str | None, tmp_path: Path
) -> None:
    found = find_layout(made(tmp_path, *files))
    assert found.network == tmp_path / network
    assert found.scheduler == (scheduler and tmp_path / scheduler)
    assert found.config == tmp_path / network / "config.json"
    assert found.card == tmp_path / "model_card.json"


def test_the_usual_layout_leaves_no_choice_and_so_nothing_to_note(tmp_path: Path) -> None:
    files = "unet/config.json", "scheduler/scheduler_config.json"
    path = tmp_path / "scheduler" / "scheduler_config.json"
    expected = Layout(tmp_path, None, tmp_path / "unet", path, notes=())
    assert find_layout(made(tmp_path, *files)) == expected


def test_an_index_promises_a_scheduler(tmp_path: Path) -> None:
    made(tmp_path, "unet/config.json")
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    found = find_layout(tmp_path)
    assert found.scheduler == tmp_path / "scheduler" / "scheduler_config.json"
    assert found.pipeline == "DDPMPipeline"
    (tmp_path / "unet").rename(tmp_path / "net")
    assert find_layout(tmp_path).scheduler == tmp_path / "scheduler_config.json"


def test_the_network_of_a_pipeline_may_be_named_itself(tmp_path: Path) -> None:
    made(tmp_path, "unet/config.json", "unet_ema/config.json", "scheduler/scheduler_config.json")
    found = find_layout(tmp_path / "unet_ema")
    assert found.network == tmp_path / "unet_ema"
    assert found.scheduler == tmp_path / "scheduler" / "scheduler_config.json"
    assert found.notes == (f"the scheduler is that of the pipeline around it, {found.scheduler}",)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["README.md"], "config.json: no such file; a checkpoint is a folder of diffusers"),
        (["a/config.json", "b/config.json"], r"several networks \(a, b\); name one of the folders"),
        (["model/model_index.json", "states/"], "a run, whose model is in .*model; name that"),
        (["states/", "lock.json"], "a run that has no model yet, .*`ddpm export .* FOLDER`"),
        (["lock.json"], "a run that has saved no state and no model yet"),
    ],
    ids=str,
)
def test_a_folder_without_one_network_is_refused_with_what_it_is(
    files: list[str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"^{tmp_path}.*{reason}"):
        find_layout(made(tmp_path, *files))


def test_a_name_in_the_index_is_no_path_to_elsewhere(tmp_path: Path) -> None:
    made(tmp_path, "evil/config.json", "here/net/config.json")
    (tmp_path / "here" / "model_index.json").write_text('{"../evil": ["x", "UNet2DModel"]}')
    assert find_layout(tmp_path / "here").network == tmp_path / "here" / "net"


def test_of_a_folder_of_many_only_the_first_are_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, *(f"{i}/" for i in range(MAX_FOLDERS + 20)))
    looked: list[str] = []
    is_file = Path.is_file

    def counted(path: Path) -> bool:
        looked.append(os.fspath(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", counted)
    with pytest.raises(CheckpointError, match="no such file"):
        find_layout(tmp_path)
    assert len([path for path in looked if path.endswith("config.json")]) == MAX_FOLDERS


def flatten(folder: Path) -> None:
    """The layout of the first DDPM releases: all files at the root."""
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()


def output(checkpoint: Checkpoint) -> torch.Tensor:
    x_t = torch.linspace(-1, 1, 128).reshape(2, *checkpoint.unet.image_shape)
    made: torch.Tensor = checkpoint.load()(x_t, torch.tensor([0, 40]))
    return made


def test_the_flat_layout_loads_too(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    expected = output(open_checkpoint(folder))
    flatten(folder)
    assert torch.equal(output(open_checkpoint(folder)), expected)
