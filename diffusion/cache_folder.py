"""Where files are kept that can be made again: downloads, converted networks."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's folder for this project: $XDG_CACHE_HOME/ddpm, or ~/.cache/ddpm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm"
