"""Checkpoints that somebody made to hurt: each is refused with file and reason, at once and in
little memory. They are opened in a process of their own that is not allowed more."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffusion.checkpoint import WEIGHTS, CheckpointError, open_checkpoint
from tests.tiny import save_tiny

MEMORY_BYTES = 512 << 20
"""What opening may take beside what the process has when it begins."""
PATIENCE_SECONDS = 10
"""Tells what ends from what does not, also on a busy machine."""
OPEN = f"""
import resource, signal, sys, time
from diffusion.checkpoint import CheckpointError, open_checkpoint

with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MEMORY_BYTES},) * 2)
for folder in sys.argv[1:]:
    signal.alarm({PATIENCE_SECONDS})
    try:
        open_checkpoint(folder)
        print("opened")
    except CheckpointError as error:
        print(error)
"""
CONFIG, SCHEDULER, CARD = "unet/config.json", "scheduler/scheduler_config.json", "model_card.json"
Damage = Callable[[Path], object]


def edited(name: str, **fields: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


def written(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def replaced(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    """A file of a terabyte, which takes no room on the disk."""
    path.touch()
    os.truncate(path, 1 << 40)


def header(text: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + text


INDEX, SHARD_INDEX = "model_index.json", f"{WEIGHTS}.index.json"


def index_of(path: Path, files: list[str]) -> None:
    """An index beside `path` that gives each file a tensor."""
    weight_map = {f"tensor {number}": name for number, name in enumerate(files)}
    path.with_name(SHARD_INDEX).write_text(json.dumps({"weight_map": weight_map}))


def pipe_as_index(path: Path) -> None:
    os.mkfifo(path.with_name(SHARD_INDEX))


def pipe_as_shard(path: Path) -> None:
    index_of(path, ["a.safetensors"])
    os.mkfifo(path.with_name("a.safetensors"))


def many_shards(path: Path) -> None:
    index_of(path, [f"{number}.safetensors" for number in range(50_000)])


def pipe_as_variant(path: Path) -> None:
    os.mkfifo(path.with_name(WEIGHTS.replace(".s", ".fp16.s")))


UNET_WEIGHTS = f"unet/{WEIGHTS}"
CASES: dict[str, tuple[Damage, str, str]] = {
    "a pipe as the config": (replaced(CONFIG, os.mkfifo), CONFIG, "not a regular file"),
    "a device as the config": (replaced(CONFIG, device), CONFIG, "not a regular file"),
    "an endless config": (replaced(CONFIG, endless), CONFIG, "too large: more than"),
    "a folder as the config": (replaced(CONFIG, os.mkdir), CONFIG, "not a regular file"),
    "a pipe as the scheduler": (replaced(SCHEDULER, os.mkfifo), SCHEDULER, "not a regular"),
    "a pipe as the card": (replaced(CARD, os.mkfifo), CARD, "not a regular file"),
    "a pipe as the weights": (replaced(UNET_WEIGHTS, os.mkfifo), WEIGHTS, "not a regular"),
    "a device as the weights": (replaced(UNET_WEIGHTS, device), WEIGHTS, "not a regular file"),
    "endless weights": (replaced(UNET_WEIGHTS, endless), WEIGHTS,
                        "no memory is left for its 1099511627776 bytes"),
    "deep JSON": (written(CONFIG, b"[" * 9_999), CONFIG, "not readable JSON"),
    "a deep card": (edited(CARD, quality={"a": json.loads("[" * 400 + "]" * 400)}), CARD,
                    "quality: lists and objects in one another"),
    "a card that no message can hold": (edited(CARD, trained={"steps": 10**30}), CARD,
                                        "trained: a whole number that does not fit 64 bits"),
    "a card with NaN": (edited(CARD, quality={"fid": float("nan")}), CARD, "quality: nan"),
    "a million lists": (written(CONFIG, b'{"a": [' + b"[]," * 1_000_000 + b"[]]}"), CONFIG,
                        "more than 10000 lists and objects"),
    "half a character": (written(CARD, b'{"name": "\\ud800"}'), CARD, "name: half a surrogate"),
    "a number of 5000 digits": (written(CONFIG, b'{"freq_shift": ' + b"9" * 5000 + b"}"), CONFIG,
                                "not readable JSON"),
    "a billion steps": (edited(SCHEDULER, num_train_timesteps=10**9), SCHEDULER,
                        "num_train_timesteps: 1000000000 is not allowed; it must be 1..100000"),
    "a list as the schedule": (edited(SCHEDULER, beta_schedule=["linear"]), SCHEDULER,
                               "beta_schedule: ['linear'] is not one of"),
    "an object as the prediction": (edited(SCHEDULER, prediction_type={}), SCHEDULER,
                                    "prediction_type: {} is not one of"),
    "a text as the table": (edited(SCHEDULER, trained_betas="0.1"), SCHEDULER, "trained_betas: "),
    "a beta of 400 digits": (edited(SCHEDULER, beta_end=10**18), SCHEDULER, "beta_end: "),
    "30,000 layers": (edited(CONFIG, layers_per_block=30_000), CONFIG, "layers_per_block: 30000"),
    "30,000 levels": (edited(CONFIG, block_out_channels=[8] * 30_000), CONFIG,
                      "… is not allowed; it must be 1..10 numbers, one a level"),
    "no levels": (edited(CONFIG, block_out_channels=[], down_block_types=[], up_block_types=[]),
                  CONFIG, "block_out_channels: () is not allowed"),
    "no blocks": (edited(CONFIG, down_block_types=[]), CONFIG, "down_block_types: ()"),
    "no groups": (edited(CONFIG, norm_num_groups=0), CONFIG, "norm_num_groups: 0"),
    "a list for a text": (edited(CONFIG, act_fn=["silu"]), CONFIG, "act_fn: ('silu',)"),
    "a text for a list": (edited(CONFIG, down_block_types="DownBlock2D"), CONFIG,
                          "down_block_types: 'DownBlock2D'"),
    "a huge image": (edited(CONFIG, sample_size=1 << 40), CONFIG, "sample_size: 1099511627776"),
    "a wide network": (edited(CONFIG, block_out_channels=[1 << 40, 1 << 40]), CONFIG,
                       "block_out_channels: 1099511627776"),
    "a million million classes": (edited(CONFIG, num_class_embeds=10**12), CONFIG,
                                  "num_class_embeds: 1000000000000"),
    "the largest network": (
        edited(CONFIG, sample_size=512, layers_per_block=16, block_out_channels=[16_384] * 10,
               down_block_types=["AttnDownBlock2D"] * 10, up_block_types=["AttnUpBlock2D"] * 10),
        WEIGHTS, "tensor conv_in.weight has shape (8, 1, 3, 3), not (16384, 1, 3, 3)"),
    "a header without an end": (written(UNET_WEIGHTS, header(b"{}", 1 << 62)), WEIGHTS,
                                "its header would have 4611686018427387904 bytes"),
    "a deep header": (written(UNET_WEIGHTS, header(b"[" * 1_000_000)), WEIGHTS, "not a whole"),
    "a tensor beyond the file": (
        written(UNET_WEIGHTS, header(
            b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], '
            b'"data_offsets": [0, 73786976294838206464]}}')), WEIGHTS, "not a whole"),
    "a pipe as the index": (replaced(INDEX, os.mkfifo), INDEX, "not a regular file"),
    "a device as the index": (replaced(INDEX, device), INDEX, "not a regular file"),
    "a deep index": (written(INDEX, b"[" * 9_999), INDEX, "not readable JSON"),
    "a pipe as the index of the weights": (replaced(UNET_WEIGHTS, pipe_as_index), SHARD_INDEX,
                                           "not a regular file"),
    "a pipe as a shard": (replaced(UNET_WEIGHTS, pipe_as_shard), "a.safetensors", "not a regular"),
    "a million shards": (replaced(UNET_WEIGHTS, many_shards), SHARD_INDEX, "files, more than 1000"),
    "a pipe as a variant": (replaced(UNET_WEIGHTS, pipe_as_variant), "fp16.safetensors",
                            "not a regular file"),
    "a chain that goes on for ever": (
        edited(SCHEDULER, num_train_timesteps=100_000), SCHEDULER, "alpha_bar is below 1e-70"),
    "another class": (edited(CONFIG, _class_name=["UNet2DModel"]), CONFIG, "_class_name: "),
    "a pointer in place of the weights": (
        written(UNET_WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha"),
        WEIGHTS, "a pointer of Git LFS, which only stands for the file: `git lfs pull`"),
    "a page in place of the weights": (
        written(UNET_WEIGHTS, b"\n<!DOCTYPE html><html>Log in</html>"), WEIGHTS, "a web page, not"),
    "no weights": (written(UNET_WEIGHTS, b""), WEIGHTS, "not a whole safetensors file"),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What opening each of them says."""
    folders = []
    for number, (damage, _, _) in enumerate(CASES.values()):
        folder = save_tiny(tmp_path_factory.mktemp("hostile") / str(number))
        damage(folder)
        folders.append(folder)
    ended = subprocess.run(
        [sys.executable, "-c", OPEN, *map(str, folders)], capture_output=True, text=True
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, [*lines[-1:], ended.stderr]
    return dict(zip(CASES, lines, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_its_file_and_the_reason(case: str, said: dict[str, str]) -> None:
    _, file, reason = CASES[case]
    place, _, rest = said[case].partition(": ")
    assert place.endswith(file), said[case]
    assert reason in rest
    assert len(said[case]) < 1000


@pytest.mark.slow
def test_the_limit_of_memory_is_felt() -> None:
    """Without it the others would say nothing."""
    code = OPEN.replace("open_checkpoint(folder)", f"bytearray({2 * MEMORY_BYTES})")
    ended = subprocess.run([sys.executable, "-c", code, "."], capture_output=True, text=True)
    assert "MemoryError" in ended.stderr


def test_a_reason_is_short_whatever_the_files_hold(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    for name in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        before = (folder / name).read_bytes()
        for fields in ({"_class_name": "A" * 1_000_000}, {"A" * 1_000_000: ["B" * 1_000_000]}):
            edited(name, **fields)(folder)
            try:
                open_checkpoint(folder)
            except CheckpointError as error:
                assert str(error).startswith(str(folder / name))
                assert len(error.reason) <= 1000
        (folder / name).write_bytes(before)
