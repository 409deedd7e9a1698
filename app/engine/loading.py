"""From a checkpoint to a network that is warm, and what to tell of it."""

import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from app.engine.beginning import beginnings
from app.engine.board import Board
from app.engine.measured import Measurements, Warm, machine_digest, warm_up
from app.engine.network import Network
from app.engine.runner import Runner
from app.engine.runtime import Runtime, RuntimeUnavailable, make_runtime
from app.engine.slots.buffers import Form
from app.engine.slots.start import Device, make_board, measured_size, open_device
from app.engine.tables import sampler_tables
from app.engine.warmup import Machine, Tell, tell_nobody
from app.wire.messages import Load
from app.wire.model_info import ModelInfo
from app.wire.options import AUTO, Options
from diffusion.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from diffusion.devices import pick_device
from diffusion.parameterization import EpsModel
from diffusion.pixels import PICTURE_CHANNELS
from diffusion.precision import choose_precision
from diffusion.process import Process

log = logging.getLogger("ddpm.engine")

MAX_BATCH_CPU, MAX_BATCH_GPU = 16, 64
"""The largest batch where none is asked for; on a GPU with slots it is measured."""

Wrap = Callable[[Board[Any]], Board[Any]]
"""Puts something around a board: faults, in tests."""


def as_it_is(board: Board[Any]) -> Board[Any]:
    """Put nothing around a board."""
    return board


class WeightsChanged(CheckpointError):
    """The weights of the checkpoint are others than those that are asked for."""


class Ready(NamedTuple):
    """A network that may take jobs, and what to tell of it."""

    network: Network[Any]
    info: ModelInfo


def load(
    asked: Load,
    options: Options,
    wrap: Wrap = as_it_is,
    tell: Tell = tell_nobody,
    machine: Machine = contextlib.nullcontext,
) -> Ready:
    """Load a checkpoint and warm up.

    `wrap` may put something around the board; `tell` is called with each step of the way. What is
    measured, and what is recorded on a GPU, is done on the `machine` alone; the rest beside
    whatever runs. PyTorch's threads are set for the calling thread: in the end to what those that
    take steps of the network must have. Raises CheckpointError, ConfigError, DeviceError or
    RuntimeUnavailable.
    """
    torch.set_num_threads(options.threads)
    tell(f"loading the checkpoint {asked.checkpoint}")
    checkpoint = open_checkpoint(asked.checkpoint)
    for note in checkpoint.notes:
        log.warning("%s: %s", checkpoint.folder, note)
    check(checkpoint, asked.sha256)
    process = Process.from_config(checkpoint.process)
    model = checkpoint.eps_model()
    tell("preparing the network")
    opened = open_runtime(asked, options, checkpoint, model, machine)
    slots, runtime = opened.slots, opened.runtime
    form = form_of(checkpoint)

    def board_of(sizes: tuple[int, ...]) -> Board[Any]:
        if slots is not None:
            with machine():
                return wrap(make_board(slots, runtime, form, sizes))
        clip = checkpoint.process.clip
        return wrap(Runner(runtime, sizes, form.shape, clip, form.null_label))

    kept = Measurements(options.cache, checkpoint, runtime, options.threads)
    warm = warm_up(process, model, runtime, board_of, kept, tell, machine)
    parameters = sum(p.numel() for p in model.parameters())
    info = describe(asked.name, checkpoint, process, opened, warm, parameters, options.threads)
    tables, begins = sampler_tables(process), beginnings(process, form.shape)
    return Ready(Network(asked.model, warm.board, warm.curve, tables, begins), info)


def check(checkpoint: Checkpoint, sha256: str | None) -> None:
    """Raise CheckpointError unless it has these weights (None: any) and makes pictures."""
    if sha256 not in (None, checkpoint.sha256):
        raise WeightsChanged(
            f"{checkpoint.folder}: the weights have changed: their SHA-256 is {checkpoint.sha256}, "
            f"and {sha256} is asked for"
        )
    if checkpoint.unet.in_channels not in PICTURE_CHANNELS:
        raise CheckpointError(
            f"{checkpoint.folder}: in_channels: {checkpoint.unet.in_channels} cannot be served as "
            "pictures; it must be 1 (grey) or 3 (RGB)"
        )


class Opened(NamedTuple):
    """How the network is run."""

    slots: Device | None  # what a board of slots works with, if the runtime is one
    runtime: Runtime
    precision_reason: str  # a sentence


def open_runtime(
    asked: Load,
    options: Options,
    checkpoint: Checkpoint,
    model: EpsModel,
    machine: Machine,
) -> Opened:
    """Choose device, precision, runtime and, where it is to be measured, the batch size. Raises
    DeviceError or RuntimeUnavailable."""
    device = pick_device(options.device)
    chosen = choose_precision(options.precision, checkpoint.card, device)
    with machine() if device.type == "cuda" else contextlib.nullcontext():
        slots = open_slots(options.runtime, device, checkpoint.process.clip)
    max_batch = asked.max_batch or (MAX_BATCH_CPU if device.type == "cpu" else MAX_BATCH_GPU)
    runtime = make_runtime(
        options.runtime if slots is None else "slots",
        model,
        device,
        options.threads,
        max_batch,
        chosen.precision,
        options.cache,
    )
    if slots is not None and asked.max_batch == AUTO and slots.queue.runs_ahead:
        with machine():
            runtime.keep((measured_size(slots, runtime, form_of(checkpoint)),))
    if runtime.name == "openvino":
        torch.set_num_threads(1)  # its idle threads would spin beside OpenVINO's
    return Opened(slots, runtime, chosen.ran(runtime.precision).reason)


def open_slots(name: str, device: torch.device, clip: float | None) -> Device | None:
    """What a board of slots works with, if the runtime of that name is one: `auto` is on a GPU
    whose bytes are right. Raises RuntimeUnavailable where it is asked for and they are not."""
    if name == "slots":
        return open_device(device, clip)
    if name != "auto" or device.type != "cuda":
        return None
    try:
        return open_device(device, clip)
    except RuntimeUnavailable as error:
        log.warning("%s; cuda-graph is used", error)
        return None


def form_of(checkpoint: Checkpoint) -> Form:
    """What the checkpoint's network takes and gives."""
    unet = checkpoint.unet
    is_conditional = unet.num_class_embeds is not None
    return Form(unet.image_shape, unet.out_channels, is_conditional, checkpoint.card.null_label)


def describe(
    name: str,
    checkpoint: Checkpoint,
    process: Process,
    opened: Opened,
    warm: Warm,
    parameters: int,
    threads: int,
) -> ModelInfo:
    """What to tell of a model that is warm, under the name that clients know."""
    card, runtime, curve, measured = checkpoint.card, opened.runtime, warm.curve, warm.measured
    return ModelInfo(
        name=name,
        image_shape=checkpoint.unet.image_shape,
        num_timesteps=process.num_timesteps,
        min_timestep=checkpoint.unet.min_timestep,
        schedule=checkpoint.process.schedule,
        alpha_bar_T=process.alpha_bar[-1].item(),
        alpha_bar=(1.0, *process.alpha_bar.tolist()),
        variance=checkpoint.process.variance,
        clip=checkpoint.process.clip,
        classes=checkpoint.classes,
        null_label=card.null_label,
        sha256=checkpoint.sha256,
        fingerprint=checkpoint.fingerprint,
        source=checkpoint.source,
        revision=checkpoint.revision,
        data=card.data,
        command=card.command,
        trained=dict(card.trained),
        quality=dict(card.quality),
        recommended=dict(card.recommended),
        tuned=dict(card.tuned),
        parameters=parameters,
        runtime=runtime.name,
        precision=runtime.precision,
        precision_reason=opened.precision_reason,
        device=str(runtime.device),
        batch_sizes=curve.sizes,
        step_seconds={str(size): measured.seconds(size) for size in measured.sizes},
        batch_invariant=warm.is_invariant,
        seconds_per_row=curve.seconds_per_row,
        machine=machine_digest(runtime.device, threads, curve.sizes),
    )
