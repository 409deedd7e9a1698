"""Converted networks, kept on disk: a conversion takes seconds, reading its result hundredths.

Each network is one file, `<key>.ir`: the SHA-256 of what follows, the length of the graph's XML in
8 bytes, that XML, and the weights. The key is a hash of all that the conversion depends on, so a
file is never out of date. Whatever goes wrong with a file, the network is converted as without it.
"""

import hashlib
import inspect
import logging
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffusion import parameterization, unet, unet_blocks
from diffusion.folders import cache_folder
from diffusion.openvino import fusion
from diffusion.parameterization import EpsModel

log = logging.getLogger("ddpm.openvino")

MAX_FILES = 32
MAX_BYTES = 1 << 30
"""What the folder may hold; the files used least recently are removed."""
HEADER = struct.Struct("<32sQ")
NOT_KEPT = (
    "the network that is converted for OpenVINO is not kept, so each start takes some seconds "
    "longer: %s; XDG_CACHE_HOME can name a folder that can be written to"
)


def load_or_convert(model: EpsModel, convert: Callable[[EpsModel], Any]) -> Any:
    """OpenVINO's graph of `model`: the one that is kept, else what `convert` makes, kept from now
    on. Both compute the same bytes."""
    try:
        path = cache_folder() / "openvino" / f"{_key(model, convert)}.ir"
        kept = _read(path)
        if kept is not None:
            return kept
        _check_writable(path.parent)
    except (OSError, RuntimeError) as error:  # no home, no source code, a disk that is read-only
        log.warning(NOT_KEPT, error)
        return convert(model)
    log.info("converting the network for OpenVINO; the next start finds it in %s", path.parent)
    graph = convert(model)
    try:
        _write(path, graph)
    except (OSError, RuntimeError) as error:
        log.warning(NOT_KEPT, error)
    return graph


def _check_writable(folder: Path) -> None:
    """Raise OSError unless files can be made in the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _key(model: EpsModel, convert: Callable[[EpsModel], Any]) -> str:
    """A hash of the network, the code that builds and converts it, the libraries, and the kind of
    processor, which constants are computed on."""
    import openvino

    digest = hashlib.sha256()
    for part in (
        torch.__version__,
        openvino.__version__,
        torch.backends.cpu.get_cpu_capability(),
        *(
            inspect.getsource(code)
            for code in (parameterization, unet, unet_blocks, fusion, convert)
        ),
        repr(model),
        repr(model.config),
        model.prediction,
    ):
        digest.update(f"{part}\0".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> Any | None:
    """The graph in a file, now the one used last; None where there is none that is whole."""
    import openvino

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        sha256, xml_bytes = HEADER.unpack_from(content)
        body = content[HEADER.size :]
        if hashlib.sha256(body).digest() != sha256:
            raise ValueError("its SHA-256 is another")
        graph = openvino.Core().read_model(model=body[:xml_bytes], weights=body[xml_bytes:])
    except (struct.error, ValueError, RuntimeError) as error:
        log.warning("%s is damaged, and is written anew: %s", path, error)
        return None
    try:
        os.utime(path)
    except OSError as error:  # of another user, or on a disk that is read-only
        log.debug("%s is not marked as used: %s", path, error)
    return graph


def _write(path: Path, graph: Any) -> None:
    """Keep a graph, whole or not at all. Raises OSError, or RuntimeError, which OpenVINO does."""
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        xml, partial = Path(name, "graph.xml"), Path(name, path.name)
        openvino.save_model(graph, xml, compress_to_fp16=False)
        text = xml.read_bytes()
        body = text + xml.with_suffix(".bin").read_bytes()
        partial.write_bytes(HEADER.pack(hashlib.sha256(body).digest(), len(text)) + body)
        os.replace(partial, path)
    _make_room(path.parent)


def _make_room(folder: Path) -> None:
    """Remove the files used least recently, down to what the folder may hold."""
    files = [(file.stat(), file) for file in folder.glob("*.ir")]
    files.sort(key=lambda entry: entry[0].st_mtime_ns, reverse=True)
    size = 0
    for count, (found, file) in enumerate(files, start=1):
        size += found.st_size
        if count > MAX_FILES or size > MAX_BYTES:
            file.unlink(missing_ok=True)
