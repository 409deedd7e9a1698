"""Which files hold the weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffusion.checkpoint import WEIGHTS, CheckpointError, open_checkpoint
from diffusion.checkpoint.weight_files import MAX_SHARDS, WeightFiles, find_weights
from tests.diffusion.checkpoint.folders import STEM, refused, rename_weights, shard

SHARDS = [f"{STEM}-0000{i}-of-00002.safetensors" for i in (1, 2)]


@pytest.mark.parametrize(
    ("names", "chosen", "variant"),
    [
        ([WEIGHTS, f"{STEM}.fp16.safetensors", f"{STEM}.bin"], [WEIGHTS], None),
        ([f"{STEM}.fp16.safetensors", f"{WEIGHTS}.index.json"], SHARDS, None),
        ([f"{STEM}.ema.safetensors", f"{WEIGHTS}.index.fp16.json"], ["ema"], "ema"),
        ([f"{STEM}.bf16.safetensors", f"{WEIGHTS}.index.fp16.json"], SHARDS, "fp16"),
        ([f"{STEM}.fp16.safetensors.index.json"], SHARDS, "fp16"),
        ([f"{STEM}.b.safetensors", f"{STEM}.a.safetensors"], ["a"], "a"),
    ],
    ids=str,
)
def test_the_most_usual_and_the_most_precise_come_first(
    names: list[str], chosen: list[str], variant: str | None, tmp_path: Path
) -> None:
    for name in (*names, *SHARDS):
        text = json.dumps({"weight_map": {"a": SHARDS[1], "b": SHARDS[0]}})
        (tmp_path / name).write_text(text if name.endswith(".json") else "")
    found = find_weights(tmp_path)
    files = chosen if len(chosen) > 1 else [f"{STEM}.{variant}.safetensors" if variant else WEIGHTS]
    assert [path.name for path in found.paths] == files
    assert found.variant == variant


def test_several_files_have_the_hash_of_their_hashes(tmp_path: Path) -> None:
    paths = tmp_path / "1", tmp_path / "2"
    for path in paths:
        path.write_text(path.name)
    lines = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in paths)
    assert WeightFiles(paths).sha256() == hashlib.sha256(lines.encode()).hexdigest()
    assert WeightFiles(paths[:1]).sha256() == hashlib.sha256(b"1").hexdigest()


def test_an_index_of_more_files_than_any_network_has_is_refused(tmp_path: Path) -> None:
    weight_map = {str(i): f"{i}.safetensors" for i in range(MAX_SHARDS + 1)}
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="weight_map: 1001 files, more than 1000"):
        find_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("README.md", f"{WEIGHTS}: no such file$"),
        ("model.ckpt", "no such file; model.ckpt is a pickle, which is never loaded$"),
        (f"{STEM}.bin", "a pickle, which is never loaded: it can run code; if you trust who made"),
    ],
)
def test_a_folder_without_weights_is_told_by_what_is_there_instead(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=reason):
        find_weights(tmp_path)


def test_one_file_has_its_own_hash(folder: Path) -> None:
    content = (folder / "unet" / WEIGHTS).read_bytes()
    assert open_checkpoint(folder).sha256 == hashlib.sha256(content).hexdigest()


def test_of_several_variants_the_averaged_and_the_more_precise_come_first(folder: Path) -> None:
    content = rename_weights(folder, f"{STEM}.zzz.safetensors").read_bytes()
    for variant in ("bf16", "fp16", "ema", "fp32"):
        (folder / "unet" / f"{STEM}.{variant}.safetensors").write_bytes(content)
        assert open_checkpoint(folder).weights.variant == variant


def in_index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
    def damage(_: Path, index: Path) -> None:
        values = json.loads(index.read_text())
        change(values)
        index.write_text(json.dumps(values))

    return damage


def first_file(name: Any) -> Callable[[Path, Path], object]:
    return in_index(lambda values: values["weight_map"].update({"conv_in.bias": name}))


def lose(place: int) -> Callable[[Path, Path], object]:
    return lambda unet, _: sorted(unet.glob("*.safetensors"))[place].unlink()


def truncate(unet: Path, _: Path) -> None:
    path = sorted(unet.glob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("damage", "file", "reason"),
    [
        (first_file("../../other.safetensors"), "index.json", "'../../other.safetensors' is not"),
        (first_file("/etc/x.safetensors"), "index.json", "'/etc/x.safetensors' is not allowed"),
        (first_file("..\\x.safetensors"), "index.json", "is not allowed; it must be the name of"),
        (first_file("x\0.safetensors"), "index.json", "is not allowed; it must be the name of"),
        (first_file("pytorch_model.bin"), "index.json", "'pytorch_model.bin' is not allowed"),
        (first_file(["a"]), "index.json", "is not allowed; it must be the name of"),
        (first_file("none.safetensors"), "none.safetensors", "no such file, though .* names it"),
        (lose(0), "00001-of-00002.safetensors", "no such file, though .* names it"),
        (lose(1), "00002-of-00002.safetensors", "no such file, though .* names it"),
        (truncate, "00002-of-00002.safetensors", "not a whole safetensors file"),
        (
            in_index(lambda v: v["metadata"].update(total_size=7)),
            "index.json",
            r"metadata: total_size: 7 bytes, but the tensors have \d+",
        ),
        (in_index(lambda v: v.update(metadata=[])), "index.json", "metadata: .* is not an object"),
        (in_index(lambda v: v["metadata"].update(total_size="7")), "index.json", "is no size"),
        (in_index(lambda v: v.update(weight_map={})), "index.json", "weight_map: missing"),
        (in_index(lambda v: v.update(weight_map="x")), "index.json", "weight_map: missing"),
        (
            in_index(lambda v: v["weight_map"].pop("conv_in.bias")),
            "00001-of-00002.safetensors",
            "tensor conv_in.bias is not in the index",
        ),
        (
            first_file(f"{STEM}-00002-of-00002.safetensors"),
            ".safetensors",
            "tensor conv_in.bias is",
        ),
    ],
)
def test_a_damaged_or_hostile_index_is_refused(
    folder: Path, damage: Callable[[Path, Path], object], file: str, reason: str
) -> None:
    damage(*shard(folder))
    with pytest.raises(CheckpointError, match=reason) as error:
        open_checkpoint(folder)
    assert str(error.value).split(": ")[0].endswith(file)


def test_other_safetensors_are_named(folder: Path) -> None:
    rename_weights(folder, "model.safetensors")
    assert (
        refused(folder).remedy == f"if model.safetensors holds the network, rename it to {WEIGHTS}"
    )
