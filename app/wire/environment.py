"""The environment of the processes that the API process starts."""

import os
import sys

SETTINGS = "DDPM_"
"""What the names of the server's settings in the environment begin with."""


def same_modules() -> dict[str, str]:
    """The environment in which another Python finds its modules where this one does, without the
    server's settings: a process is told what it needs, and secrets are none of its business."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**own, "PYTHONPATH": os.pathsep.join(sys.path)}
