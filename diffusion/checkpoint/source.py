"""Where a checkpoint is: the name of a built-in model, or a path."""

from pathlib import Path

from diffusion.checkpoint.errors import CheckpointError
from diffusion.folders import MODELS


def find_checkpoint(source: str | Path) -> Path:
    """Return the folder of a built-in name, such as `mnist`, or of a path, such as `./mnist`.

    Raises CheckpointError, naming the built-in models, where there is neither.
    """
    folder = Path(source)
    if str(source) == folder.name and (MODELS / folder / "model_index.json").is_file():
        return MODELS / folder
    if folder.is_dir():
        return folder
    built_in = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/model_index.json")))
    raise CheckpointError(f"{source}: no such folder, and not a built-in model ({built_in})")
