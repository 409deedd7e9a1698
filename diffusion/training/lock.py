"""One process to the folder of a run, on this machine and, as far as can be known, on others.

.lock       locked by the system as long as the process lives, however it ends
lock.json   the host, the process and the start of the system that it runs on
"""

import contextlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from diffusion.training.errors import TrainingError

log = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", "lock.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """The process that trains in a folder."""

    host: str
    pid: int
    boot: str  # which start of which machine; the same in all its containers; "" where not known
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """A block in which no other process trains in the folder `run`, which must exist.

    Raises TrainingError, naming host and process, where another one does, or where that cannot be
    known because it was on another machine.
    """
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            f"out: {run} is in use by {_holder(run) or 'another process'}; stop that one first, or "
            "give another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        log.warning("%s: its file system locks no files (%s)", run, error)
    try:
        _check_left(run, _holder(run), lock.is_locked)
        here = Holder(platform.node(), os.getpid(), _boot(), time.strftime("%Y-%m-%d %H:%M:%S"))
        (run / HOLDER).write_text(json.dumps(asdict(here)) + "\n")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (run / HOLDER).unlink()
    finally:
        lock.release()


def _check_left(run: Path, left: Holder | None, is_locked: bool) -> None:
    """Raise TrainingError unless the process that a lock.json tells of is known to have ended."""
    if left is None:
        return
    if left.host != platform.node() and left.boot != _boot():
        # A network folder may not tell one machine of another's locks.
        raise TrainingError(
            f"out: {run} was in use by {left}, and whether it still is cannot be known from here; "
            f"if that process has ended, remove {run / HOLDER}"
        )
    if not is_locked and _is_alive(left.pid):
        raise TrainingError(f"out: {run} is in use by {left}; stop that one first")
    log.warning("%s: %s ended without a word; this one takes over", run, left)


def _holder(run: Path) -> Holder | None:
    """The process that lock.json tells of; None where there is none, or it is not whole."""
    try:
        return Holder(**json.loads((run / HOLDER).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
