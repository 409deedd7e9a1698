"""Where the models of a server may be loaded from."""

from collections.abc import Callable, Collection, Mapping, Sequence

from app.pool.errors import CannotLoad
from app.pool.version import Source
from diffusion.sources.errors import CheckpointError
from diffusion.sources.find import Location, built_in_models, find_checkpoint, resolve
from diffusion.sources.hub_files import MAX_WEIGHTS_BYTES


class Sources:
    """What a server is started with, and what it may be told to load while it runs: that, built-in
    models, and those of the Hub that are `allowed`, by patterns of owner/name."""

    def __init__(
        self,
        named: Mapping[str, str],
        allowed: Collection[str] = (),
        max_bytes: int = MAX_WEIGHTS_BYTES,
    ) -> None:
        """`named` are the checkpoints that the server is started with, by the models' names. Of the
        Hub come at most `max_bytes` of weights."""
        self._named = dict(named)
        self._allowed = allowed
        self._max_bytes = max_bytes

    def at_start(self) -> list[Source]:
        """What the server is started with, fetched where it is on the Hub. Raises CannotLoad for
        the first that is nowhere."""

        def find(checkpoint: str) -> Location:
            return find_checkpoint(checkpoint, self._max_bytes)

        return [_source(name, checkpoint, find) for name, checkpoint in self._named.items()]

    def find(self, name: str, checkpoint: str) -> Source:
        """Where a model is to be loaded from. It may take as long as a download. Raises CannotLoad
        for what is nowhere, and for what may not be loaded."""
        named = set(self._named.values())

        def find(checkpoint: str) -> Location:
            return resolve(checkpoint, self._allowed, named, self._max_bytes)

        return _source(name, checkpoint, find)

    def loadable(self, names: Sequence[str]) -> list[str]:
        """The built-in models that have none of these names."""
        return [name for name in built_in_models() if name not in names]


def _source(name: str, checkpoint: str, find: Callable[[str], Location]) -> Source:
    """A model's source, with the size of its weights' files. Raises CannotLoad."""
    try:
        found = find(checkpoint)
        size = sum(file.stat().st_size for file in found.folder.rglob("*.safetensors"))
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{checkpoint}: ")
        raise CannotLoad(reason, checkpoint) from error
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise CannotLoad(str(error.strerror), checkpoint) from error
    is_built_in = found.origin == checkpoint and not found.revision
    # What is fetched again may be another commit: this one's files are in a folder of their own.
    where = checkpoint if is_built_in else str(found.folder)
    return Source(name, where, size, found.pinned or checkpoint, checkpoint)
