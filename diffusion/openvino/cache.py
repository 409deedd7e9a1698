"""What OpenVINO makes of a network, kept on disk: its graph, and that compiled for each batch size.

A conversion takes seconds and a compilation half of one; what is kept of them is read in a part of
that. A file's name is a hash of all that its content depends on: weights, code, libraries,
processor, and what it was compiled for. A compiled network that is read must give the bytes that it
gave when it was written; otherwise, and whatever else is wrong with a file, it is made anew.
"""

import hashlib
import inspect
import io
import logging
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion import unet, unet_layers
from diffusion.atomic import PARTIAL
from diffusion.devices import describe_processor
from diffusion.file_cache import FileCache
from diffusion.openvino import fusion, precise
from diffusion.openvino.part import Network, Part
from diffusion.parameterization import EpsModel

log = logging.getLogger("ddpm.openvino")

XML_BYTES = struct.Struct("<Q")
"""Before a graph: the length of its XML, which its weights follow."""
DIGEST_BYTES = 64
"""Before a compiled network: the SHA-256 of its output, in hexadecimal digits."""
PACKAGE = __name__.partition(".")[0]
Convert = Callable[[EpsModel], Any]
"""Makes OpenVINO's graph of a network."""


class NetworkCache:
    """The graph of one network and its compiled forms."""

    def __init__(
        self, model: EpsModel, convert: Callable[[EpsModel], Any], files: FileCache
    ) -> None:
        """`convert` makes the graph where none is kept."""
        import openvino

        self._core = openvino.Core()
        self._model = model
        self._convert = convert
        self._files = files
        self._graph: Any = None
        self._lock = threading.Lock()  # of the graph: several threads compile at once
        self._key = ""
        try:
            self._key = _key(model, convert)
        except OSError as error:  # an installation without source code
            files.not_kept(error)
            self._files = FileCache(None)

    def graph(self) -> Any:
        """A copy of OpenVINO's graph of the network: of the one that is kept, else of what
        `convert` makes."""
        with self._lock:
            if self._graph is None:
                name = f"{self._key}.graph"
                self._graph = self._read_graph(name)
                if self._graph is None:
                    log.info("converting the network for OpenVINO")
                    self._graph = self._convert(self._model)
                    self._write_graph(name)
            return self._graph.clone()

    def forget_graph(self) -> None:
        """Free the graph's memory; it is read again when it is asked for."""
        self._graph = None

    def compiled(
        self,
        count: int,
        inputs: Sequence[Tensor],
        options: Mapping[str, object],
        make: Callable[[], Any],
        variant: str,
    ) -> list[Network]:
        """So many equal networks, each for a caller of its own, compiled with OpenVINO's `options`
        for batches of the shapes of `inputs`. Where none is kept, they are compiled from the graph
        that `make` gives; `variant` says how that is made of the network's."""
        shapes = [tuple(tensor.shape) for tensor in inputs]
        text = f"{self._key} {shapes} {sorted(options.items())} {variant}"
        name = f"{hashlib.sha256(text.encode()).hexdigest()}.compiled"
        content = self._files.read(name)
        if content is not None:
            try:
                return self._imported(count, content, inputs, options)
            except (ValueError, RuntimeError) as error:
                self._files.damaged(name, error)
        first = Network(self._core.compile_model(make(), "CPU", dict(options)))
        blob = io.BytesIO()
        first.compiled.export_model(blob)
        content = memoryview(bytearray(_digest(first, inputs) + blob.getbuffer()))
        try:
            others = self._imported(max(1, count - 1), content, inputs, options)[: count - 1]
        except (ValueError, RuntimeError) as error:  # what is read is not what was compiled
            log.warning("a compiled network cannot be kept: %s", error)
            graphs = [make() for _ in range(count - 1)]
            compiled = (self._core.compile_model(graph, "CPU", dict(options)) for graph in graphs)
            return [first, *map(Network, compiled)]
        self._files.write(name, content)
        return [first, *others]

    def _imported(
        self,
        count: int,
        content: memoryview,
        inputs: Sequence[Tensor],
        options: Mapping[str, object],
    ) -> list[Network]:
        """Networks from a file's content, whose memory they share. Raises RuntimeError, which
        OpenVINO does, or ValueError unless each gives the bytes that the compiled one gave."""
        import openvino

        blob = openvino.Tensor(np.frombuffer(content[DIGEST_BYTES:], np.uint8), shared_memory=True)

        def imported(_: int) -> Network:
            made = Network(self._core.import_model(blob, "CPU", dict(options)), content)
            if _digest(made, inputs) != content[:DIGEST_BYTES]:
                raise ValueError("the network that is read gives other bytes than when it was kept")
            return made

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(imported, range(count)))

    def _read_graph(self, name: str) -> Any | None:
        content = self._files.read(name)
        if content is None:
            return None
        try:
            (xml_bytes,) = XML_BYTES.unpack_from(content)
            body = content[XML_BYTES.size :]
            return self._core.read_model(
                model=bytes(body[:xml_bytes]), weights=bytes(body[xml_bytes:])
            )
        except (struct.error, ValueError, RuntimeError) as error:
            self._files.damaged(name, error)
            return None

    def _write_graph(self, name: str) -> None:
        import openvino

        if self._files.folder is None:
            return
        try:
            self._files.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self._files.folder) as folder:
                xml = Path(folder, "graph.xml")
                openvino.save_model(self._graph, xml, compress_to_fp16=False)
                text, weights = xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
        except (OSError, RuntimeError) as error:  # OpenVINO raises the second, for a full disk
            self._files.not_kept(error)
            return
        self._files.write(name, XML_BYTES.pack(len(text)) + text + weights)


def _key(model: EpsModel, convert: Convert) -> str:
    """A hash of the network, the code that builds, converts and compiles it, the libraries, and the
    processor, which constants are computed on. Raises OSError where the code has no source."""
    import openvino

    digest = hashlib.sha256()
    for part in (
        torch.__version__,
        openvino.__version__,
        describe_processor(),
        *_sources(model, convert),
        repr(model),
        repr(model.config),
        model.prediction,
    ):
        digest.update(f"{part}\0".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _sources(model: EpsModel, convert: Convert) -> list[str]:
    """The code that the network's layers are of, and what converts and compiles them."""
    names = {type(module).__module__ for module in model.modules()}
    layers = sorted(name for name in names if name.partition(".")[0] == PACKAGE)
    whole = (unet, unet_layers, fusion, precise, sys.modules[convert.__module__])
    return [inspect.getsource(code) for code in (*(sys.modules[name] for name in layers), *whole)]


def _digest(network: Network, inputs: Sequence[Tensor]) -> bytes:
    """The SHA-256 of the network's output for these inputs, in hexadecimal digits."""
    part = Part(network)
    part.fill(inputs)
    part.run()
    return hashlib.sha256(part.output.numpy().data).hexdigest().encode()
