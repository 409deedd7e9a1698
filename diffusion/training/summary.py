"""What a run is going to do, said before its first step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion.devices import describe_machine, total_memory
from diffusion.training.losses import Objective
from diffusion.training.trainer import Trainer
from diffusion.training.words import size

COPIES = 5
"""Float32 numbers for each parameter: weights, gradient, Adam's two moments, and the average;
without those that snapshots are of."""


def summary(trainer: Trainer) -> str:
    """Describe a run, a line for each thing: network, data, length, precision, memory."""
    return "\n".join(f"{name:<10} {text}" for name, text in _lines(trainer))


def _lines(trainer: Trainer) -> Iterator[tuple[str, str]]:
    training, unet = trainer.config.training, trainer.config.unet
    levels = ", ".join(map(str, unet.block_out_channels))
    yield "network", f"{parameters(trainer):,} parameters, in levels of {levels} channels"
    yield "data", _data(trainer)
    seen = training.num_steps * training.batch_size / len(trainer.batches.data)
    epochs = f"{seen:,.0f}" if seen >= 10 else f"{seen:.2g}"
    length = f"{training.num_steps:,} steps of {training.batch_size} images"
    yield "training", f"{length}: {epochs} epochs, which is how often each image is seen"
    if training.batch_size > len(trainer.batches.data):
        yield "", "(the batch is larger than the data: it has some images more than once)"
    machine = describe_machine(trainer.device)
    yield "precision", f"{training.precision}, on {trainer.device} ({machine})"
    yield "memory", _memory(trainer)
    begin = f"goes on after step {trainer.step:,}" if trainer.step else "begins at step 0"
    yield "run", f"{trainer.folder}, {begin}"


def _data(trainer: Trainer) -> str:
    data, (channels, height, width) = trainer.batches.data, trainer.config.unet.image_shape
    kind = "1 channel" if channels == 1 else f"{channels} channels"
    images = f"{len(data):,} images of {height}x{width} pixels, {kind}"
    if data.labels is None:
        return f"{images}, without labels"
    told = "" if trainer.batches.is_conditional else ", which the network is not told"
    return f"{images}, {len(data.classes)} classes{told}"


def _memory(trainer: Trainer) -> str:
    """The estimate in words. What libraries take while they compute is not known beforehand."""
    copies = COPIES + len(trainer.averages)
    fixed, activations = parameters(trainer) * copies * 4, activation_bytes(trainer)
    total, there = fixed + activations, total_memory(trainer.device)
    text = (
        f"about {size(total)}: {size(fixed)} for weights, gradient, Adam and EMA, "
        f"{size(activations)} for activations (an estimate; libraries take some more)"
    )
    if there is not None and total > there:
        text += f"; that is more than the {size(there)} of the device: set a larger accumulate"
    return text


def parameters(trainer: Trainer) -> int:
    """Count the network's parameters."""
    return sum(parameter.numel() for parameter in trainer.model.parameters())


def activation_bytes(trainer: Trainer) -> int:
    """Estimate what a forward pass keeps for the backward pass, in bytes, for the images that a
    worker runs at once.

    It is measured with one image and with two, and grows by the difference with each one more.
    """
    one, two = _kept_bytes(trainer, 1), _kept_bytes(trainer, 2)
    return one + (trainer.images_at_once - 1) * (two - one)


def _kept_bytes(trainer: Trainer, count: int) -> int:
    """The bytes that autograd keeps of a forward pass of so many images."""
    known = {parameter.untyped_storage().data_ptr() for parameter in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # The same images again where the batch has fewer
    batch = trainer.batches.at(trainer.step)
    batch = batch.rows(torch.arange(count) % len(batch.t)).to(trainer.device)
    objective = Objective(trainer.config, trainer.process, trainer.model)
    is_half = trainer.config.training.precision == "bfloat16"
    trainer.model.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(trainer.device.type, torch.bfloat16, enabled=is_half),
    ):
        losses = objective(batch)
    del losses  # until here the graph held what it kept, so no address came twice
    return sum(kept.values())
