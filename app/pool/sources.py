"""Where the models of a server may be loaded from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.pool.errors import CannotLoad
from app.pool.version import Source
from diffusion.folders import MODELS


def built_in() -> list[str]:
    """The names of the checkpoints that come with the project."""
    return sorted(path.parent.name for path in MODELS.glob("*/model_index.json"))


def measured(name: str, checkpoint: str) -> Source:
    """A model's source, with the size of its weights' files. Reads the disk."""
    is_name = checkpoint == Path(checkpoint).name and checkpoint in built_in()
    folder = MODELS / checkpoint if is_name else Path(checkpoint)
    try:
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    except OSError:  # whoever loads it says what is wrong
        size = 0
    return Source(name, checkpoint, size)


class Sources:
    """What a running server may be told to load: built-in models, and what it was started with."""

    def __init__(self, named: Mapping[str, str]) -> None:
        """`named` are the checkpoints that the server was started with, by the models' names."""
        self._named = dict(named)
        self._last = dict(named)

    def find(self, name: str, checkpoint: str | None) -> Source:
        """Where a model is to be loaded from; None: where it was loaded from last, or the built-in
        model of its name. Reads the disk. Raises CannotLoad for what may not be loaded."""
        chosen = checkpoint or self._last.get(name, name)
        names = built_in()
        if chosen not in names and chosen not in self._named.values():
            known = ", ".join([*names, *self._named.values()])
            raise CannotLoad(
                f"{chosen[:80]!r} is none of the checkpoints that this server may load: {known}"
            )
        self._last[name] = chosen
        return measured(name, chosen)

    def loadable(self, names: Sequence[str]) -> list[str]:
        """The built-in models that have none of these names."""
        return [name for name in built_in() if name not in names]
