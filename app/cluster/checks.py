"""What is wrong with settings for a cluster, before anything runs."""

import os
import tempfile
from collections.abc import Iterable

from app.settings import SECRETS, SettingError, Settings

PROXYS = {"host", "port", "keep_alive_seconds", "tls_certificate", "tls_key"}
"""Settings of what listens, which is Ray's proxy."""
SOCKET_BYTES = 107
"""Bytes of a socket's path, at most (unix(7))."""
IN_FOLDER = "/ddpm-xxxxxxxx/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of Ray's sockets in the folder for temporary files."""


def check_arguments(names: Iterable[str]) -> None:
    """Raise SettingError for a name that is no setting, or one that is to be set elsewhere."""
    for name in names:
        if name in SECRETS:
            reason = f"{name} is a secret: give it in the server's environment"
        elif name in PROXYS:
            reason = f"{name} is for Ray's proxy: its http_options say how it listens"
        elif name == "cluster":
            reason = "cluster starts Ray, and this is for a Ray that runs: leave it out"
        elif name not in Settings.model_fields:
            reason = f"{name} is not a setting; `ddpm serve --help` lists all of them"
        else:
            continue
        raise SettingError(name, "(not shown)", reason)


def check_devices(settings: Settings) -> None:
    """Raise SettingError where an engine would have several devices."""
    if len(settings.devices) > 1:
        reason = "each engine of a cluster has one device: cluster_engines says how many there are"
        raise SettingError("device", settings.device, reason)


def check_temporary_folder() -> None:
    """Raise SettingError where Ray can have no sockets in the folder for temporary files."""
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise SettingError("TMPDIR", os.environ.get("TMPDIR", ""), str(error)) from None
    most = SOCKET_BYTES - len(IN_FOLDER)
    if len(os.fsencode(folder)) > most:
        reason = f"Ray's sockets need a shorter path, of at most {most} bytes, such as /tmp"
        raise SettingError("TMPDIR", folder, reason)
