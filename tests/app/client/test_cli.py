"""`ddpm sample --server`: the files of the same command without it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from tests.app.server import REAL, Server, free_port
from tests.conftest import ServerFor

FLAGS = ["--n=48", "--seed=3", "--first-index=5", "--sampler=ddim", "--steps=8", "--eta=0.5"]
BATCH = "--batch-size=16"
"""The server's own: what PyTorch computes depends on it, a little."""


def ddpm(*flags: str) -> int:
    return main(["sample", *flags])


@pytest.fixture(scope="module")
def real_server(server_for: ServerFor, checkpoint: Path) -> Server:
    """Its network is called as the local command calls it."""
    flags = [f"--checkpoint={checkpoint}", "--runtime=eager", "--max-samples=50", "--threads=1"]
    return server_for(*flags, engine=REAL)


@pytest.mark.slow
@pytest.mark.parametrize("out", ["grid.png", "images.npz", "folder"])
def test_the_files_are_those_of_the_local_command(
    real_server: Server, checkpoint: Path, tmp_path: Path, out: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    flags = [str(checkpoint), *FLAGS, BATCH, "--label", "4"]
    assert ddpm(*flags, f"--out={here / out}", "--device=cpu", "--runtime=eager") == 0
    assert ddpm(*flags, f"--out={there / out}", f"--server={real_server.url}") == 0
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(there) for p in there.rglob("*") if p.is_file())
    assert [(there / file).read_bytes() for file in files] == [
        (here / file).read_bytes() for file in files
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--start-image=a.png", "--t=20", "--resize"],
        ["--start-image=a.png", "--mask=a.png", "--resize", "--resamplings=2", "--jump=2"],
        ["--start-images", "a.png", "b.png", "--t=20", "--resize", "--weights=0.3"],
        ["--seeds", "1", "2", "--weights", *(str(i / 47) for i in range(48)), "--eta=0"],
        ["--start-x-t=states.npz"],
    ],
    ids=["picture", "mask", "between pictures", "between seeds", "states"],
)
def test_chains_that_begin_elsewhere_are_those_of_the_local_command(
    real_server: Server,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Image.effect_noise((20, 30), 80).save(f"{name}.png")
    shape = open_checkpoint(checkpoint).unet.image_shape
    T = open_checkpoint(checkpoint).process.num_timesteps
    np.savez("states.npz", x_t=np.random.default_rng(0).standard_normal((48, *shape)), t=T)
    asked = [str(checkpoint), *FLAGS, *flags, BATCH]
    assert ddpm(*asked, "--out=here.npz", "--device=cpu", "--runtime=eager") == 0
    assert ddpm(*asked, "--out=there.npz", f"--server={real_server.url}") == 0
    here, there = (np.load(f"{name}.npz")["images"].astype(int) for name in ("here", "there"))
    assert np.abs(here - there).max() <= 1, "the server may choose smaller batches"


@pytest.mark.slow
def test_more_than_a_request_may_have_is_asked_for_in_parts(
    tiny_server: Server, tmp_path: Path
) -> None:
    labels = [str(i % 10) for i in range(70)]  # the server takes 50 at once
    flags = ["tiny", "--n=70", "--steps=3", f"--server={tiny_server.url}", "--label", *labels]
    for size in ("64", "7"):
        assert ddpm(*flags, f"--batch-size={size}", f"--out={tmp_path / size}.npz") == 0
    images = [np.load(tmp_path / f"{size}.npz")["images"] for size in ("64", "7")]
    assert images[0].shape == (70, 8, 8, 1)
    assert np.array_equal(*images)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["mnist"], "checkpoint: 'mnist' is not allowed: URL serves 'tiny'"),
        (["tiny", "--device=cuda"], "device: 'cuda' is not allowed with --server"),
        (["tiny", "--precision=float32"], "precision: 'float32' is not allowed with --server"),
        (["tiny", "--t=5"], "t: 5 is not allowed: it needs --start-image, --start-images or"),
        (["tiny", "--seeds", "1", "2"], "URL: 422 Invalid request: start.seeds: [1, 2] is not"),
        (
            ["tiny", "--start-image=no.png", "--t=5"],
            "start_image: 'no.png' is not allowed: No such file or directory",
        ),
        (
            ["tiny", "--n=3", "--seeds", "1", "2", "--weights", "0", "1"],
            "weights: 2 is not allowed: give one, or one for each of the n = 3 images",
        ),
        (["tiny", "--runtime=eager"], "runtime: 'eager' is not allowed with --server"),
        (
            ["tiny", "--label", "1", "2"],
            "labels: [1, 2] is not allowed: 2 labels for n = 16",
        ),
        (["tiny", "--recommended"], "recommended: the card of tiny recommends nothing"),
        (["tiny", "--out=a.v2"], "out: 'a.v2' is not allowed: the ending must be .png for a grid"),
        (["tiny", "--batch-size=0"], "batch_size: 0 is not allowed: it must be 1 or more"),
        (["tiny", "--n=0"], "URL: 422 Invalid request: n: "),
        (["tiny", "--eta=0.5"], "URL: 422 Invalid request: eta: "),
        (["tiny", "--label", "10"], "URL: 422 Invalid request: labels: "),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(
    tiny_server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    out = tmp_path / "out.png"
    assert ddpm(f"--out={out}", *flags, f"--server={tiny_server.url}") == 2
    expected = "ddpm: " + message.replace("URL", tiny_server.url)
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_there_is_replaced_with_force_alone(
    tiny_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    out.touch()
    flags = ["tiny", "--n=1", "--steps=1", f"--out={out}"]
    nobody = f"--server=http://127.0.0.1:{free_port()}"
    assert ddpm(*flags, nobody) == 2
    assert "the file exists; --force replaces it" in capsys.readouterr().err, "before it is asked"
    assert ddpm(*flags, f"--server={tiny_server.url}", "--force") == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert ddpm("tiny", f"--server={url}") == 2
    assert f"ddpm: {url} cannot be reached: nothing listens there" in capsys.readouterr().err
    assert ddpm("tiny", "--server=localhost") == 2
    assert "ddpm: url: 'localhost' is not allowed" in capsys.readouterr().err


def test_the_package_alone_samples_here() -> None:
    command = [sys.executable, "-m", "diffusion", "sample", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--server" not in text
