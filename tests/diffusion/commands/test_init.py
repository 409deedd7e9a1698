"""`ddpm init`: a configuration that fits the data, and can be trained as it is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from app.cli import main
from diffusion.commands.init import ON_CPU, ON_GPU, fit, starter
from diffusion.config import Config, DataConfig
from diffusion.data import datasets, forms
from diffusion.data.built_in import BUILT_IN
from diffusion.data.images import DataSet, Images
from diffusion.data.shaping import Form
from diffusion.training.trainer import Trainer
from tests.diffusion.data.samples import png, put

Init = Callable[..., Config]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def init(tmp_path: Path) -> Init:
    def run(data: Path, *flags: str) -> Config:
        out = tmp_path / "new" / "mine.toml"
        assert main(["init", str(data), "--out", str(out), "--device", "cpu", *flags]) == 0
        return Config.read(out)

    return run


def folder(path: Path, sizes: list[tuple[int, int]], mode: str = "L", classes: str = "ab") -> Path:
    """Two images of each size, (width, height), in each class."""
    value = 9 if mode == "L" else (9, 8, 7)
    return put(path, {
        f"{name}/{i}-{k}.png": png(value, size, mode)
        for name in classes for i, size in enumerate(sizes) for k in range(2)
    })  # fmt: skip


def test_the_configuration_fits_the_data_and_is_accepted_by_training(
    init: Init, tmp_path: Path
) -> None:
    config = init(folder(tmp_path / "images", [(28, 28)]))
    assert config.unet.image_shape == (1, 28, 28) and config.unet.num_class_embeds == 3
    assert config.data.size is None and not config.training.horizontal_flip
    Trainer(config, datasets.load(config.data), tmp_path / "run")


def test_images_of_different_sizes_get_one(init: Init, tmp_path: Path) -> None:
    config = init(folder(tmp_path / "images", [(80, 60), (61, 90)], "RGB"))
    assert config.data.size == 32 and config.unet.image_shape == (3, 32, 32)
    assert config.training.horizontal_flip
    Trainer(config, datasets.load(config.data, channels=3), tmp_path / "run")


@pytest.mark.parametrize(
    ("found", "size", "shape"),
    [
        ((64, 32), None, (32, 64)),  # fits the network's levels
        ((30, 30), 32, (32, 32)),  # does not
        ((17, 22), 16, (16, 16)),
        ((500, 500), 32, (32, 32)),  # too large for a CPU
        ((3, 2), 4, (4, 4)),
    ],
)
def test_one_size_is_kept_where_the_network_can_have_it(
    found: tuple[int, int], size: int | None, shape: tuple[int, int], init: Init, tmp_path: Path
) -> None:
    config = init(folder(tmp_path / "images", [found]))
    assert config.data.size == size and config.unet.image_size == shape


def test_what_was_asked_for_is_kept(init: Init, tmp_path: Path) -> None:
    config = init(
        folder(tmp_path / "images", [(80, 60), (61, 90)]),
        "--size", "16", "24", "--crop", "pad", "--background", "black", "--channels", "3",
        "--holdout", "2", "--labels", "none",
    )  # fmt: skip
    assert config.data.size_hw == (16, 24) == config.unet.image_size
    assert (config.data.crop, config.data.background) == ("pad", "black")
    assert (config.data.channels, config.data.holdout, config.data.labels) == (3, 2, "none")
    assert config.unet.num_class_embeds is None and config.training.label_dropout == 0
    Trainer(config, datasets.load(config.data), tmp_path / "run")


def test_images_are_held_out_where_there_are_enough_and_no_test_split(tmp_path: Path) -> None:
    pixels = np.zeros((300, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels)
    np.savez(tmp_path / "b.npz", x_train=pixels, x_test=pixels[:9])
    np.savez(tmp_path / "c.npz", images=pixels[:9])
    chosen = [fit(DataConfig(str(tmp_path / f"{name}.npz")), ON_CPU) for name in "abc"]
    assert [data.holdout for data, _ in chosen] == [0.1, 0, 0]
    assert 10 < len(chosen[0][1].split("test")) < 60


def test_images_are_not_held_out_where_each_class_has_one(init: Init, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((250, 8, 8), np.uint8), labels=np.arange(250))
    config = init(tmp_path / "a.npz")
    assert config.data.holdout == 0 and config.unet.num_class_embeds == 251


def test_a_size_is_chosen_before_anything_is_decoded(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: set[tuple[int, int] | None] = set()

    def decode(_: bytes, form: Form, __: str) -> np.ndarray:
        sizes.add(form.size)
        return np.zeros((1, 32, 32), np.uint8)

    monkeypatch.setattr(forms, "decode", decode)
    init(folder(tmp_path / "images", [(400, 300)]))
    assert sizes == {(32, 32)}


@pytest.mark.parametrize("size", [["30"], ["1"], ["32", "30"]])
def test_a_size_that_training_would_refuse_is_refused(
    size: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = folder(tmp_path / "images", [(8, 8)]), tmp_path / "a.toml"
    assert main(["init", str(images), "--out", str(out), "--device", "cpu", "--size", *size]) == 2
    told = capsys.readouterr().err
    assert "--size: " in told and "it must be a multiple of 4, which the network halves 2" in told
    assert not out.exists()


@pytest.mark.parametrize("name", ["i😀", "café", "q\"'\\x", "new\nline", "\x01\x7f", "tab\t"])
def test_any_path_and_any_name_of_the_file_can_be_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = folder(tmp_path / name, [(8, 8)]), tmp_path / f"{name}.toml"
    assert main(["init", str(images), "--out", str(out), "--device", "cpu"]) == 0
    assert Config.read(out).data.path == str(images)
    assert capsys.readouterr().out.count("\n") == 5


def test_a_path_that_is_no_text_is_refused_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.toml"
    assert main(["init", f"{tmp_path}/\udce9", "--out", str(out), "--device", "cpu"]) == 2
    assert "DATA: " in capsys.readouterr().err and not out.exists()


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "nothing", "--out", str(tmp_path), "--force"]) == 2
    assert f"--out: '{tmp_path}' is not allowed: it is not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("last", "line"),
    [
        (1, 'num_class_embeds = 3 # the classes, and one more: "no label"'),
        (
            999,
            'num_class_embeds = 1001 # labels 0..999, of which 2 occur, and one more: "no label"',
        ),
    ],
)
def test_a_comment_tells_what_the_network_has_labels_for(
    last: int, line: str, tmp_path: Path
) -> None:
    pixels = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array([0, last, 0, last]))
    data, found = fit(DataConfig(str(tmp_path / "a.npz")), ON_CPU)
    assert line in starter(data, found, ON_CPU, "a CPU", Path("a.toml")).splitlines()


def test_the_last_class_may_have_no_image(init: Init, tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b", "c"]}}}}
    table = pa.table({"image": [png(size=(8, 8))] * 4, "label": [0, 1, 0, 1]})
    made = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(made, tmp_path / "a.parquet")
    config = init(tmp_path / "a.parquet")
    assert config.unet.num_class_embeds == 4
    Trainer(config, datasets.load(config.data), tmp_path / "run")


def test_a_gpu_gets_a_larger_network_and_larger_images(tmp_path: Path) -> None:
    data, found = fit(DataConfig(str(folder(tmp_path / "images", [(300, 200)]))), ON_GPU)
    (tmp_path / "a.toml").write_text(starter(data, found, ON_GPU, "a GPU", Path("a.toml")))
    config = Config.read(tmp_path / "a.toml")
    assert config.unet.image_size == (64, 64)
    assert config.unet.block_out_channels[0] == 64
    assert config.training.precision == "bfloat16"


def test_a_file_that_exists_is_replaced_only_by_force(
    init: Init, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder(tmp_path / "images", [(8, 8)])
    init(images)
    out = str(tmp_path / "new" / "mine.toml")
    assert main(["init", str(images), "--out", out]) == 2
    assert f"--out: {out} exists; --force replaces it" in capsys.readouterr().err
    init(images, "--force")


def test_data_that_cannot_be_read_leave_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "nothing"), "--out", str(tmp_path / "a.toml")]) == 2
    assert "neither a built-in data set" in capsys.readouterr().err
    assert not (tmp_path / "a.toml").exists()


def test_the_file_is_named_after_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "images", [(8, 8)])
    monkeypatch.chdir(tmp_path)
    assert main(["init", "images/"]) == 0
    assert Config.read(tmp_path / "images.toml").data.path == "images/"
    assert "ddpm train images.toml --out runs/images --dry-run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist", "false"),
        ("cifar10", "true"),
        ("emoji", '["faces", "people", "animals", "food"]'),
    ],
)
def test_images_are_mirrored_where_a_mirror_keeps_their_meaning(name: str, expected: str) -> None:
    black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    train = Images(black, torch.zeros(2, dtype=torch.int64), BUILT_IN[name].classes)
    text = starter(DataConfig(name), DataSet({"train": train}), ON_CPU, "test", Path("a.toml"))
    assert f"horizontal_flip = {expected} #" in text
    Config.parse(text)


def test_emoji_without_labels_are_not_mirrored() -> None:
    train = Images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), None)
    data = DataConfig("emoji", labels="none")
    text = starter(data, DataSet({"train": train}), ON_CPU, "test", Path("a.toml"))
    assert "horizontal_flip = false #" in text
