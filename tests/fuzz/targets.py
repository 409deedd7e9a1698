"""What is fuzzed: what makes an input, what reads it, and the errors with which it may refuse."""

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.wire import codec
from app.wire.channel import Disconnected, SocketChannel
from diffusion.checkpoint import CheckpointError, open_checkpoint
from diffusion.config import Config, DataConfig
from diffusion.data.datasets import read
from diffusion.data.images import DataError
from diffusion.data.picture import PictureError, decode, look, only_bombs_warned_of
from diffusion.data.shaping import Form
from diffusion.fields import ConfigError
from diffusion.folders import cache_folder
from diffusion.importing.errors import ForeignError
from diffusion.importing.reading import read_tensors
from tests.diffusion.data.samples import LABELS, idx, put
from tests.fuzz import inputs
from tests.fuzz.inputs import Make


@dataclass(frozen=True)
class Target:
    """A reader of what others wrote. `read` gets the bytes of an input."""

    make: Make
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]


def targets(folder: Path) -> dict[str, Target]:
    """All of them, by name. `folder` is an empty one, for the files that they read."""
    files = inputs.checkpoint_files(folder / "seed")
    put(folder / "checkpoint", files)
    sharded = inputs.sharded_files(files)
    put(folder / "sharded", sharded)

    def of_checkpoint(name: str, make: Callable[[bytes], Make]) -> Target:
        return Target(
            make(files[name]),
            lambda raw: read_checkpoint(folder / "checkpoint", name, raw, files[name]),
            (CheckpointError,),
        )

    def of_data(name: str, make: Make) -> Target:
        path = folder / name / name
        return Target(make, lambda raw: read_data(path, raw), (DataError,))

    return {
        "checkpoint pipeline": of_checkpoint(inputs.PIPELINE, inputs.json_file),
        "checkpoint index": Target(
            inputs.json_file(sharded[inputs.SHARD_INDEX]),
            lambda raw: read_checkpoint(
                folder / "sharded", inputs.SHARD_INDEX, raw, sharded[inputs.SHARD_INDEX]
            ),
            (CheckpointError,),
        ),
        "checkpoint unet": of_checkpoint(inputs.UNET, inputs.json_file),
        "checkpoint scheduler": of_checkpoint(inputs.SCHEDULER, inputs.json_file),
        "checkpoint card": of_checkpoint(inputs.CARD, inputs.json_file),
        "checkpoint weights": of_checkpoint(inputs.WEIGHTS, inputs.safetensors_file),
        "import": Target(
            inputs.torch_file, lambda raw: read_torch(folder / "i.pt", raw), (ForeignError,)
        ),
        "config": Target(
            inputs.toml_file, lambda raw: read_config(folder / "c.toml", raw), (ConfigError,)
        ),
        "data picture": Target(inputs.picture, read_picture, (PictureError,)),
        "data npz": of_data("a.npz", inputs.npz_file),
        "data zip": of_data("a.zip", inputs.zip_file),
        "data idx": of_data("train-images-idx3-ubyte", inputs.idx_file),
        "data parquet": of_data("a.parquet", inputs.parquet_file),
        "wire": Target(inputs.message, read_wire, (Disconnected,)),
    }


def read_checkpoint(folder: Path, name: str, raw: bytes, good: bytes) -> None:
    """Open a checkpoint one of whose files is the input; load the weights that it may change."""
    path = folder / name
    path.write_bytes(raw)
    try:
        checkpoint = open_checkpoint(folder)
        if name in (inputs.UNET, inputs.WEIGHTS, inputs.SHARD_INDEX):
            checkpoint.load()
    finally:
        path.write_bytes(good)


def read_torch(path: Path, raw: bytes) -> None:
    """Read a file of another project, and all that its tensors hold."""
    path.write_bytes(raw)
    for tensor in read_tensors(path).values():
        tensor.float().sum()


def read_config(path: Path, raw: bytes) -> None:
    """Read a configuration."""
    path.write_bytes(raw)
    Config.read(path)


def read_picture(raw: bytes) -> None:
    """Look at a picture, and decode it in three ways."""
    with only_bombs_warned_of():
        look(raw)
        for form in (Form(3), Form(1, (4, 4), "pad"), Form(3, (8, 4), "random")):
            decode(raw, form, "a.png")


def read_data(path: Path, raw: bytes) -> None:
    """Read a data set that is one file; MNIST's is a folder with the labels beside it."""
    path.parent.mkdir(exist_ok=True)
    config = DataConfig(str(path), size=4)
    if "idx3" in path.name:
        path = path.with_suffix(".gz") if raw.startswith(b"\x1f\x8b") else path
        other = path.with_suffix("" if path.suffix else ".gz")
        other.unlink(missing_ok=True)
        put(path.parent, {"train-labels-idx1-ubyte": idx(LABELS)})
        config = DataConfig(str(path.parent))
    path.write_bytes(raw)
    try:
        read(config)
    finally:
        shutil.rmtree(cache_folder() / "packed", ignore_errors=True)


def read_wire(raw: bytes) -> None:
    """Receive messages from a socket that is closed after the input. What is received is a message
    that can be sent on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(1)
        theirs.sendall(raw[: 64 << 10])  # what the socket holds without a reader
        theirs.close()
        channel = SocketChannel(ours)
        try:
            while True:
                for message in channel.receive(wait=True):
                    wire = codec.encode(message)
                    again = codec.decode(wire[codec.HEADER.size :])
                    assert codec.encode(again) == wire
        except Disconnected as error:
            if error.__cause__ is not None:  # it is no message
                raise
