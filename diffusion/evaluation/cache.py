"""A long computation's finished parts on disk, so that it continues where it stopped."""

import copy
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.atomic import atomic_file, sync

log = logging.getLogger(__name__)
Array = np.ndarray
UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise for files that are cut short, or other than they should be."""


class EvaluationError(ValueError):
    """An evaluation cannot be made as asked; the message names what is wrong and what to do."""


class Parts:
    """The finished parts of an evaluation in its folder, each an .npz of its own.

    `key`, in JSON types, is everything that the results depend on. `older` says what the names were
    that older versions did not write.
    """

    def __init__(
        self, folder: Path, key: Mapping[str, Any], older: Mapping[str, Any] | None = None
    ) -> None:
        """Raises EvaluationError where the folder holds parts of an evaluation with another key, or
        what tells of its key is damaged."""
        self.folder = folder
        self._prefix = ""
        wanted = json.loads(json.dumps(key))
        path = folder / "evaluation.json"
        if not path.exists():
            with atomic_file(path) as file:
                file.write((json.dumps(wanted, indent=2) + "\n").encode())
        found = {**(older or {}), **_read_key(path)}
        for name, value in wanted.items():
            if found.get(name) != value:
                raise EvaluationError(
                    f"{folder} holds an evaluation with {name} = {found.get(name)!r}, not "
                    f"{value!r}; give another folder, or remove this one"
                )

    def under(self, prefix: str) -> "Parts":
        """Return other parts in the same folder, whose names begin with `prefix`."""
        made = copy.copy(self)
        made._prefix = f"{self._prefix}{prefix}-"
        return made

    def get(self, name: str, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """Return the arrays of part `name`: from disk, or made and stored now.

        A damaged part is made again, with a warning.
        """
        path = self.folder / f"{self._prefix}{name}.npz"
        if path.exists():
            try:
                return _read(path)
            except UNREADABLE:  # whose messages are about pickles
                log.warning("%s is damaged; this part is made again", path)
        made = make()
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **made)  # type: ignore[arg-type]  # none is called allow_pickle
        sync(partial)  # a power cut must not leave an empty part under the final name
        partial.replace(path)
        return _read(path)


def _read(path: Path) -> dict[str, Array]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _read_key(path: Path) -> dict[str, Any]:
    """The key of the folder's evaluation. Raises EvaluationError where it cannot be read."""
    advice = "give another folder, or remove this one"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} is damaged ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise EvaluationError(f"{path} is damaged (it must be a JSON object); {advice}")
    return found
