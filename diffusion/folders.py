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
