"""Ray on this machine, as long as a server needs it."""

import contextlib
import logging
import math
import os
import subprocess  # nosec B404 - for the shell that removes our own folder
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from app.cluster.signals import Signals
from app.settings import SettingError, Settings
from diffusion.cores import available_cores

log = logging.getLogger("ddpm.cluster")

STORE_BYTES = 256 << 20
"""Memory for what is on its way between Ray's processes."""
END_SECONDS = 50.0
"""Time that Ray has for ending, after that which requests have."""
REMOVE = 'read _; for _ in $(seq 20); do rm -rf "$0"; sleep 1; done'
"""What a shell does once its input ends: it removes a folder, which those of Ray's processes that
were just starting may make once more before they end."""
ROUNDING = 1e-9
"""1 / 0.1 is 10, though 0.1 is rounded."""
VITAL = ("gcs_server", "raylet")
"""Ray's processes without which nothing goes on."""


class CannotStart(Exception):
    """Ray says why it cannot start."""


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder. A process of its own removes it after the block, and when this process is
    killed: Ray's processes may outlive both by a moment."""
    folder = tempfile.mkdtemp(prefix="ddpm-")
    cleaner = subprocess.Popen(  # nosec B603 - our own script and folder
        ["/bin/sh", "-c", REMOVE, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # or who reads what this process writes would wait for it
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Path(folder)
    finally:
        assert cleaner.stdin is not None
        cleaner.stdin.close()


@contextlib.contextmanager
def local_ray(settings: Settings, folder: Path, signals: Signals) -> Iterator[None]:
    """Ray on this machine as long as the block lasts; it writes to this folder alone. Its processes
    have this one's environment. Raises CannotStart, SettingError."""
    import ray

    try:
        with signals.interrupting():
            start(settings, folder)
            signals.take()  # Ray has taken them
            check_gpus(settings, ray.cluster_resources().get("GPU", 0))
        yield
    finally:
        signals.take()
        with cut_off(END_SECONDS):
            end(signals)


def start(settings: Settings, folder: Path) -> None:
    """Start Ray. Raises CannotStart."""
    import ray

    engines = max(settings.cluster_engines, settings.cluster_max_engines, 1)
    needed = 1 + engines * settings.cluster_engine_cpus
    try:
        ray.init(
            address="local",
            num_cpus=max(available_cores(), int(-(-needed // 1))),
            include_dashboard=False,
            logging_level=logging.WARNING,
            object_store_memory=STORE_BYTES,
            _temp_dir=str(folder / "ray"),
        )
    except Exception as error:  # of many kinds: what its variables say, the disk, the memory
        log.debug("Ray cannot start", exc_info=True)
        raise CannotStart(f"Ray cannot start: {first_line(error)}") from None


def check_gpus(settings: Settings, found: float) -> None:
    """Raise SettingError where Ray would wait for GPUs for ever."""
    engines, each = max(settings.cluster_engines, 1), settings.cluster_engine_gpus
    needed = engines * each
    if 0 < each < 1:  # parts of one GPU: what is left of several makes none
        needed = math.ceil(engines / int(1 / each + ROUNDING))
    if needed > found:
        reason = f"Ray finds {found:g} GPUs on this machine, for {engines} engines"
        raise SettingError("cluster_engine_gpus", settings.cluster_engine_gpus, reason)


def ended_part() -> str:
    """The name of a vital process of Ray that has ended; empty: they run, or Ray does not."""
    from ray._private import worker  # nothing public says so before a minute has passed

    dead = worker._global_node.dead_processes() if worker._global_node else ()
    return next((name for name, _ in dead if name in VITAL), "")


def end(signals: Signals) -> None:
    """End Ray Serve and Ray; on a second Ctrl-C without waiting for requests."""
    import ray
    from ray import serve

    with contextlib.suppress(KeyboardInterrupt), signals.interrupting(after=1):
        if ray.is_initialized() and not ended_part():  # else it would start Ray, or wait for ever
            serve.shutdown()
    ray.shutdown()


@contextlib.contextmanager
def cut_off(seconds: float) -> Iterator[None]:
    """End this process where the block takes longer, since Ray waits for its processes without end;
    they end with this one."""

    def exit_at_once() -> None:
        log.error("Ray does not end: it is cut off")
        os._exit(1)

    timer = threading.Timer(seconds, exit_at_once)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def first_line(error: Exception) -> str:
    """What an error of Ray says first. One that was raised in another process has a `cause`, and
    itself begins with that process' name."""
    cause = getattr(error, "cause", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
