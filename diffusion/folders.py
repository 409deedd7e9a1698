"""Where files are: the models that come with the project, and what can be made or fetched again.

Imports no torch, so that a command can name these folders without loading it.
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "models"
MODELS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "models"
"""The checkpoints that come with the project: in the package where that was installed from a wheel,
else beside it in the repository."""


def cache_folder() -> Path:
    """The user's folder for downloads and converted networks: $XDG_CACHE_HOME/ddpm, or
    ~/.cache/ddpm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm"


def check_cache(folder: str) -> str:
    """Return the name of a folder for what can be made again; empty: nothing is kept. Raises
    ValueError where it is no folder."""
    try:
        is_other = bool(folder) and Path(folder).exists() and not Path(folder).is_dir()
    except OSError as error:  # a name that is too long
        raise ValueError(f"{folder[:80]!r} cannot be a folder: {error.strerror}") from error
    if is_other:
        raise ValueError(f"{folder!r} is not a folder; it must be one, or a name for a new one")
    return folder
