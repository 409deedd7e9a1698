"""A long computation's finished parts on disk, so that it continues where it stopped."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


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
        """Raises EvaluationError where the folder holds parts of an evaluation with another key."""
        self.folder = folder
        wanted = json.loads(json.dumps(key))
        path = folder / "evaluation.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(wanted, indent=2) + "\n")
            partial.rename(path)
        found = {**(older or {}), **json.loads(path.read_text())}
        for name, value in wanted.items():
            if found.get(name) != value:
                raise EvaluationError(
                    f"{folder} holds an evaluation with {name} = {found.get(name)!r}, not "
                    f"{value!r}; give another folder, or remove this one"
                )

    def get(self, name: str, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """Return the arrays of part `name`: from disk, or made and stored now."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **make())  # type: ignore[arg-type]  # none is called allow_pickle
            partial.rename(path)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
