"""Small files that a running server reads again: of keys, and of its certificate."""

import errno
import os
import stat

MAX_BYTES = 1 << 20
"""More than any of them has."""


def check_small_file(path: str) -> None:
    """Raise OSError unless `path` is a regular file of at most MAX_BYTES: a pipe would be waited
    for, while nobody is answered, and a device may never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes; {MAX_BYTES} are allowed")
