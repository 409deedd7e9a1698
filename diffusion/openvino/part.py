"""How a compiled network is run: its requests, each with buffers of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Network:
    """A network that OpenVINO has compiled, and the memory that it was read from, if it was."""

    def __init__(self, compiled: Any, content: memoryview | None = None) -> None:
        self.compiled = compiled
        self._content = content  # its weights are there, which OpenVINO does not keep alive


class Part:
    """One of OpenVINO's requests, and its buffers. Parts run at once, as far as their networks have
    streams."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._request = network.compiled.create_infer_request()
        with torch.inference_mode(mode=False):  # else they could be written only in that mode
            self._inputs = [torch.from_numpy(tensor.data) for tensor in self._request.input_tensors]
            self.output = torch.from_numpy(self._request.get_output_tensor().data)

    def fill(self, columns: Sequence[Tensor]) -> None:
        """Take x_t, t and, where the network takes it, label."""
        for buffer, tensor in zip(self._inputs, columns, strict=True):
            buffer.copy_(tensor)

    def run(self) -> None:
        """Compute `output`; where the network has one thread, in the caller's."""
        self._request.infer(share_outputs=True)

    def start(self) -> None:
        """Begin to compute `output` in the network's own threads."""
        self._request.start_async()

    def wait(self) -> None:
        """Wait until `output` is computed."""
        self._request.wait()
