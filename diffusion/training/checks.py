"""What is looked at before a run begins, so that nothing which could be known ends it later."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from diffusion.config import Config, TrainingConfig
from diffusion.data.images import Images
from diffusion.networks.config import NetworkConfig
from diffusion.networks.network import Network
from diffusion.networks.registry import UNET, kind_of
from diffusion.output import check_writable
from diffusion.training.batches import null_label
from diffusion.training.errors import TrainingError
from diffusion.training.schedule import Reached
from diffusion.training.snapshots import num_due
from diffusion.training.states import KEEP_STATES, saved_states
from diffusion.training.words import size
from diffusion.unet import UNet

STATE_BYTES, MODEL_BYTES, SNAPSHOT_BYTES = 16, 4, 8
"""On disk for each parameter, float32: weights, their average and Adam's two moments; the average
alone in what is exported; two averages in a snapshot, and then in a state, too."""


def check_shares(training: TrainingConfig, workers: int) -> None:
    """Raise TrainingError unless a batch can be shared evenly between the workers."""
    parts = training.accumulate * workers
    if training.batch_size % parts:
        raise TrainingError(
            f"batch_size: {training.batch_size} is not a multiple of {parts}: {workers} "
            f"workers, each running its share in {training.accumulate} parts"
        )


def check_data(config: Config, data: Images) -> None:
    """Raise TrainingError where the network does not take these images, or their labels."""
    shape = tuple(data.pixels.shape[1:])
    if shape != config.unet.image_shape:
        channels, height, width = shape
        size = height if height == width else [height, width]
        raise TrainingError(
            f"data: the images are {shape}, but the network takes {config.unet.image_shape}; "
            f"images like these need in_channels = {channels} and sample_size = {size}"
        )
    _check_classes_to_flip(config.training, data)
    rows = config.unet.num_class_embeds
    if rows is None:
        return
    if data.labels is None:
        raise TrainingError("num_class_embeds: it is set, but the data has no labels")
    classes = max(len(data.classes), int(data.labels.max()) + 1)  # the last may have no image
    wanted = classes + (null_label(config) is not None)
    if rows != wanted:
        raise TrainingError(f"num_class_embeds: {rows}, but the data needs {wanted}")


def _check_classes_to_flip(training: TrainingConfig, data: Images) -> None:
    """Raise TrainingError where a class is to be mirrored that the data does not have."""
    flip = training.horizontal_flip
    unknown = [] if isinstance(flip, bool) else [name for name in flip if name not in data.classes]
    if unknown:
        have = f"classes {', '.join(data.classes)}" if data.classes else "no classes"
        raise TrainingError(
            f"horizontal_flip: {unknown[0]!r} is not allowed; the data has {have}, and true or "
            "false stands for all"
        )


def check_until(until: int | None, reached: Reached | None) -> None:
    """Raise TrainingError where a run is to stop at a step that it has passed, or that none is."""
    least = max(1, reached.step if reached else 1)
    if until is not None and until < least:
        why = f"the run has reached step {least} already" if reached else "the first step is 1"
        raise TrainingError(f"--until: {until} is not allowed; {why}")


def check_folder(run: Path) -> None:
    """Make the folder of a run if it is not there.

    Raises TrainingError where it cannot be written to, or the place of its model is taken.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run) as file:
            file.write(b"to be sure")
    except OSError as error:
        raise TrainingError(f"out: {run} cannot be written to: {error.strerror}") from error
    _check_place_of_model(run)


def check_place(run: Path) -> None:
    """Raise TrainingError where `check_folder` would, or OutputError; nothing is made."""
    if run.exists() and not run.is_dir():
        raise TrainingError(f"out: {run} is a file, not a folder")
    check_writable(run)
    _check_place_of_model(run)


def _check_place_of_model(run: Path) -> None:
    model = run / "model"
    is_empty = model.is_dir() and not any(model.iterdir())
    if model.exists() and not is_empty and not (model / "model_index.json").is_file():
        raise TrainingError(
            f"out: {model} is where the trained model goes, but holds something else; move it, or "
            "give another folder"
        )


def check_room(run: Path, parameters: int, training: TrainingConfig, step: int = 0) -> None:
    """Raise TrainingError where the disk has no room for the states, the model and the snapshots of
    a run that goes on from `step`."""
    state, model = parameters * STATE_BYTES, parameters * MODEL_BYTES
    snapshot, snapshots = parameters * SNAPSHOT_BYTES, 0
    if training.snapshot_every:
        state += snapshot
        snapshots = num_due(training, step + 1, training.num_steps)
    # A new state is written before the oldest one is removed.
    states = KEEP_STATES + 1 - len(saved_states(run))
    needed, free = states * state + model + snapshots * snapshot, shutil.disk_usage(run).free
    if free < needed:
        told = f"{snapshots:,} snapshots of {size(snapshot)}, " if snapshots else ""
        raise TrainingError(
            f"out: the disk of {run} has {size(free)} left, but the run needs {size(needed)}: "
            f"{states} states of {size(state)}, {told}and the model; make room, or give another "
            "folder"
        )


@contextmanager
def memory_errors_told(training: TrainingConfig) -> Iterator[None]:
    """A block in which memory that is not enough raises TrainingError with what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        first_line = str(error).partition("\n")[0]
        if not _is_out_of_memory(error):
            raise
        raise TrainingError(
            f"the memory is not enough for batches of {training.batch_size} run in "
            f"{training.accumulate} parts; set a larger accumulate, a smaller batch_size or a "
            f"smaller network ({first_line})"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class of errors for a GPU's memory, and only a text for that of the CPU."""
    if isinstance(error, TrainingError):
        return False
    is_cpu = "DefaultCPUAllocator" in str(error)
    return is_cpu or isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)


def check_start(start: NetworkConfig) -> None:
    """Raise TrainingError unless a network is of the kind that is trained here."""
    kind = kind_of(start)
    if kind is not UNET:
        raise TrainingError(
            f"start: its network is a {kind.name}, which can be sampled from, but not trained; "
            f"start from a {UNET.name}"
        )


def copy_weights(start: Network, model: UNet) -> None:
    """Copy all weights; those of v stay the model's own where `start` learned no variance.

    Raises TrainingError where the networks differ in anything else.
    """
    weights, own = start.state_dict(), model.state_dict()
    if own["conv_out.weight"].shape[0] == 2 * weights["conv_out.weight"].shape[0]:
        # The first half of the last layer's channels gives eps_hat, the second v
        for name in ("conv_out.weight", "conv_out.bias"):
            weights[name] = torch.cat([weights[name], own[name][len(weights[name]) :]])
    for name in sorted(own.keys() | weights.keys()):
        here, there = (
            tuple(state[name].shape) if name in state else "missing" for state in (own, weights)
        )
        if here != there:
            raise TrainingError(
                f"start: its network is not the configuration's: {name} is {there} there, "
                f"{here} here"
            )
    model.load_state_dict(weights)
