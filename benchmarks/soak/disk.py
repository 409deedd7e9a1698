"""A disk of our own that can be full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 1 << 16


class Disk:
    """A folder whose disk `fill` fills, as far as that is possible here."""

    def __init__(self, folder: Path, *, is_own: bool) -> None:
        self.folder = folder
        self.is_own = is_own
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room; again and again, since those who use the disk make some. Where the disk
        is not our own: let nobody write."""
        if not self.is_own:
            self._allow(0o555)
            return
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as out:
            while True:
                out.write(bytes(BLOCK_BYTES))

    def empty(self) -> None:
        """As it was before."""
        self._ballast.unlink(missing_ok=True)
        if not self.is_own:
            self._allow(0o755)

    def _allow(self, mode: int) -> None:
        for folder in [self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())]:
            with contextlib.suppress(FileNotFoundError):
                folder.chmod(mode)


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """A disk of so many bytes at an empty folder: root mounts one in memory; for others it is the
    folder alone, which can be made read-only."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder)
    is_own = os.geteuid() == 0 and _run(*mount)
    made = Disk(folder, is_own=is_own)
    try:
        yield made
    finally:
        made.empty()
        if is_own:
            _run("umount", "--lazy", folder)


def _run(*command: str | Path) -> bool:
    """Whether the command could be run, and did what it was to do."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
