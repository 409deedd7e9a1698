"""The engine's own process: load, warm up, then step and listen until the socket closes.

Started by the API process as `python -m app.engine SOCKET RECORDER OPTIONS`, with one end of a
socket pair and a flight recorder. It knows no HTTP. When its end of the socket closes, for whatever
reason, it ends: an engine never outlives its API process.
"""

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from app import logs
from app.engine.board import Board
from app.engine.engine import Engine
from app.engine.lane_threads import LaneThreads
from app.engine.latency_curve import LatencyCurve
from app.engine.measured import Measurements, warm_up
from app.engine.runner import Runner
from app.engine.runtime import Runtime, RuntimeUnavailable, make_runtime
from app.engine.slots.buffers import Form
from app.engine.slots.start import (
    Device,
    make_board,
    measured_size,
    open_device,
)
from app.engine.warmup import Tell, tell_nobody
from app.wire.channel import Disconnected, SocketChannel
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import ModelInfo, Ready, Starting, Unusable
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
END_SECONDS = 10.0
"""Time that running steps have once the API process is gone."""

Wrap = Callable[[Board[Any]], Board[Any]]
"""Puts something around a board: faults, in tests."""


def outlive_for(seconds: float, connection: socket.socket) -> None:
    """Wait for the API process to go away, then end this process after `seconds`, whatever hangs
    here."""
    closed = select.poll()
    closed.register(connection, 0)
    closed.poll()
    time.sleep(seconds)
    os._exit(1)


def as_it_is(board: Board[Any]) -> Board[Any]:
    """Put nothing around a board."""
    return board


def load(
    options: Options, wrap: Wrap = as_it_is, tell: Tell = tell_nobody
) -> tuple[Engine[Any], Ready]:
    """Load the checkpoint and warm up: the engine, and what to tell of its model.

    `wrap` may put something around the board; `tell` is called with each step of the way. Raises
    CheckpointError, ConfigError, DeviceError or RuntimeUnavailable.
    """
    torch.set_num_threads(options.threads)
    tell(Starting(f"loading the checkpoint {options.checkpoint}"))
    checkpoint = open_checkpoint(options.checkpoint)
    for note in checkpoint.notes:
        log.warning("%s: %s", checkpoint.folder, note)
    if checkpoint.unet.in_channels not in PICTURE_CHANNELS:
        raise CheckpointError(
            f"{checkpoint.folder}: in_channels: {checkpoint.unet.in_channels} cannot be served as "
            "pictures; it must be 1 (grey) or 3 (RGB)"
        )
    process = Process.from_config(checkpoint.process)
    model = checkpoint.eps_model()
    device = pick_device(options.device)
    tell(Starting(f"preparing the network for {device}"))
    slots, runtime, reason = open_runtime(options, device, checkpoint, model)
    form = form_of(checkpoint)

    def board_of(sizes: tuple[int, ...]) -> Board[Any]:
        if slots is not None:
            return wrap(make_board(slots, runtime, form, sizes))
        clip = checkpoint.process.clip
        return wrap(Runner(runtime, sizes, form.shape, clip, form.null_label))

    kept = Measurements(options.cache, checkpoint, runtime, options.threads)
    warm = warm_up(process, model, runtime, board_of, kept, tell)
    parameters = sum(p.numel() for p in model.parameters())
    info = describe(
        checkpoint,
        process,
        runtime,
        reason,
        warm.measured,
        parameters,
        is_invariant=warm.is_invariant,
    )
    return Engine(process, warm.board, warm.curve), Ready(info)


class Opened(NamedTuple):
    """How the network is run."""

    slots: Device | None  # what a board of slots works with, if the runtime is one
    runtime: Runtime
    precision_reason: str  # a sentence


def open_runtime(
    options: Options, device: torch.device, checkpoint: Checkpoint, model: EpsModel
) -> Opened:
    """Choose precision, runtime and, where it is to be measured, the batch size. Raises
    RuntimeUnavailable."""
    chosen = choose_precision(options.precision, checkpoint.card, device)
    slots = open_slots(options.runtime, device, checkpoint.process.clip)
    max_batch = options.max_batch or (MAX_BATCH_CPU if device.type == "cpu" else MAX_BATCH_GPU)
    runtime = make_runtime(
        options.runtime if slots is None else "slots",
        model,
        device,
        options.threads,
        max_batch,
        chosen.precision,
        options.cache,
    )
    if slots is not None and options.max_batch == AUTO and slots.queue.runs_ahead:
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
    checkpoint: Checkpoint,
    process: Process,
    runtime: Runtime,
    precision_reason: str,
    measured: LatencyCurve,
    parameters: int,
    *,
    is_invariant: bool,
) -> ModelInfo:
    """What to tell of a model that is warm. `measured` has all batch sizes that were tried."""
    curve = measured.up_to_the_knee()
    card = checkpoint.card
    return ModelInfo(
        name=checkpoint.name,
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
        precision_reason=precision_reason,
        device=str(runtime.device),
        batch_sizes=curve.sizes,
        step_seconds={str(size): measured.seconds(size) for size in measured.sizes},
        batch_invariant=is_invariant,
        seconds_per_row=curve.seconds_per_row,
    )


def main(wrap: Wrap = as_it_is) -> None:
    """Run until the API process goes away. `wrap` may put something around the board."""
    for stopping in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # of a whole service: the API process' to handle
        signal.signal(stopping, signal.SIG_IGN)
    fd, recorder_fd, options = Options.parse()
    logs.configure(options.log_format, options.log_level)
    connection = socket.socket(fileno=fd)
    channel = SocketChannel(connection)
    threading.Thread(target=outlive_for, args=(END_SECONDS, connection), daemon=True).start()
    try:
        try:
            engine, ready = load(options, wrap, channel.send)
            engine.on_step = FlightRecorder(recorder_fd).write
        except Exception as error:
            log.debug("engine cannot start", exc_info=error)
            channel.send(Unusable(str(error) or repr(error)))
            return
        channel.send(ready)
        LaneThreads(channel, engine).serve()
    except Disconnected:
        return


if __name__ == "__main__":
    main()
