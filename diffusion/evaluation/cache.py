"""A long computation's finished pieces on disk, so that it goes on where it stopped."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


class EvaluationError(ValueError):
    """An evaluation cannot be made as asked; the message says why."""


class Parts:
    """Finished pieces of the work, each an .npz of its own, made once.

    Raises EvaluationError where the folder holds parts of another evaluation.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.folder = folder
        wanted = json.loads(json.dumps(key))
        path = folder / "evaluation.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(wanted, indent=2) + "\n")
            partial.rename(path)
        found = json.loads(path.read_text())
        for name, value in wanted.items():
            if found.get(name) != value:
                raise EvaluationError(
                    f"{folder} holds an evaluation with {name} = {found.get(name)!r}, not "
                    f"{value!r}; give another folder, or remove it"
                )

    def get(self, name: str, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """The arrays of part `name`, from disk when it is there."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **make())  # type: ignore[arg-type]  # none is called allow_pickle
            partial.rename(path)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
