"""How the network is run: the seam between the runner and PyTorch, OpenVINO, or what comes next.

A runtime is a callable (x (B,C,H,W) float32, t (B,) int64, label (B,) int64 or None) -> eps_hat,
for B among its `batch_sizes`. It is `batch_invariant` when a row's bytes do not depend on B or on
the other rows: that is measured at warm-up, not assumed.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from diffusion.unet import UNet

RUNTIMES = ("openvino", "eager")


class RuntimeUnavailable(RuntimeError):
    """The runtime asked for is not installed, or does not run on that device."""


class Runtime(Protocol):
    """What the runner needs."""

    name: str
    precision: str
    device: torch.device
    batch_sizes: tuple[int, ...]  # increasing

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor: ...


class EagerRuntime:
    """PyTorch as it is: the reference.

    On a CPU its kernels are chosen by batch size below 4 rows, so smaller batches are padded to 4.
    On CUDA every batch is padded to one size, so that the same kernels always run.
    """

    name = "eager"
    precision = "float32"

    def __init__(self, model: UNet, device: torch.device, max_batch: int) -> None:
        self.model = model.to(device)
        self.device = device
        sizes = powers_of_two(max(4, max_batch), first=4)
        self.batch_sizes = sizes if device.type == "cpu" else sizes[-1:]
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        eps_hat: Tensor = self.model(x_t, t, label)
        return eps_hat


class OpenVINORuntime:
    """OpenVINO on the CPU, float32, compiled for each batch size: the default where it installs."""

    name = "openvino"
    precision = "float32"
    device = torch.device("cpu")

    def __init__(self, model: UNet, threads: int, max_batch: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise RuntimeUnavailable(
                "runtime: openvino is not installed; install the extra `openvino`, or use eager"
            ) from error
        self.batch_sizes = powers_of_two(max_batch, first=1)
        examples = _examples(model, 2)
        graph = openvino.convert_model(model, example_input=examples)
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._requests: dict[int, Any] = {}
        for size in self.batch_sizes:
            fixed = graph.clone()
            shapes = [(size, *example.shape[1:]) for example in examples]
            fixed.reshape(dict(zip(fixed.inputs, shapes, strict=True)))
            self._requests[size] = core.compile_model(fixed, "CPU", options).create_infer_request()

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        inputs = [tensor.numpy() for tensor in (x_t, t, label) if tensor is not None]
        outputs = self._requests[len(x_t)].infer(inputs)
        return torch.from_numpy(outputs[0]).clone()  # the buffer is reused by the next call


def powers_of_two(largest: int, *, first: int) -> tuple[int, ...]:
    """first, 2 first, … and `largest` itself."""
    sizes = []
    while first < largest:
        sizes.append(first)
        first *= 2
    return (*sizes, largest)


def make_runtime(
    name: str, model: UNet, device: torch.device, threads: int, max_batch: int
) -> Runtime:
    """The runtime of that name; `auto` is OpenVINO on a CPU where it is installed, else eager.

    Raises RuntimeUnavailable.
    """
    if name == "openvino" and device.type != "cpu":
        raise RuntimeUnavailable(f"runtime: openvino runs on the CPU, not on {device}")
    if name == "eager" or device.type != "cpu":
        return EagerRuntime(model, device, max_batch)
    try:
        return OpenVINORuntime(model, threads, max_batch)
    except RuntimeUnavailable:
        if name == "openvino":
            raise
        return EagerRuntime(model, device, max_batch)


@torch.inference_mode()
def is_batch_invariant(runtime: Runtime, model: UNet) -> bool:
    """Run the same rows in every batch size and at other places in the batch; compare bytes."""
    largest = runtime.batch_sizes[-1]
    inputs = [tensor.to(runtime.device) for tensor in _examples(model, largest)]
    inputs += [None] * (3 - len(inputs))  # type: ignore[list-item]
    x_t, t, label = inputs
    reference = runtime(x_t, t, label)
    for size in runtime.batch_sizes:
        shift = largest // 2 + 1
        for start in {0, largest - size}:
            rows = (torch.arange(start, start + size, device=runtime.device) + shift) % largest
            part = runtime(x_t[rows], t[rows], None if label is None else label[rows])
            if not torch.equal(part, reference[rows]):
                return False
    return True


def _examples(model: UNet, size: int) -> list[Tensor]:
    """Inputs of `size` rows: noise over all timesteps."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    x_t = torch.randn(size, *config.image_shape, generator=generator)
    t = torch.linspace(0, 999, size).long()
    if config.num_class_embeds is None:
        return [x_t, t]
    return [x_t, t, torch.arange(size) % config.num_class_embeds]
