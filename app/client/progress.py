"""Progress bars, and the file that a download fills."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from tqdm import tqdm

from app.client.display import duration
from app.client.status import Job, Transfer

JOB_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""A job's bar has the server's estimate: it knows when the job began, and when nobody ran it."""


@contextmanager
def job_bar(is_shown: bool) -> Generator[Callable[[Job], None], None, None]:
    """Draw a progress bar of a job's images; gives a function that takes the job's states."""
    with tqdm(desc="images", unit="image", bar_format=JOB_BAR, disable=not is_shown) as bar:

        def show(job: Job) -> None:
            bar.total = job.total
            left = None if job.left_s is None else f"about {duration(job.left_s)} left"
            bar.set_postfix_str(job.detail or left or job.status, refresh=False)
            bar.update(job.done - bar.n)
            bar.refresh()

        yield show


@contextmanager
def transfer_bar(name: str, is_shown: bool) -> Generator[Callable[[Transfer], None], None, None]:
    """Draw a progress bar of bytes; gives a function that takes the download's progress."""
    with tqdm(desc=name, unit="B", unit_scale=True, disable=not is_shown) as bar:

        def show(transfer: Transfer) -> None:
            if bar.total is None and bar.n == 0:
                bar.initial = bar.n = transfer.done  # what was there before took no time
            bar.total = transfer.total
            bar.update(transfer.done - bar.n)  # back, when a download starts again

        yield show


@contextmanager
def partial_file(target: Path, job_id: str) -> Generator[BinaryIO, None, None]:
    """Open a file that becomes `target` when the block succeeds. After an error it is kept, to be
    continued: a job's result never changes."""
    part = target.with_name(f"{target.name}.{quote(job_id, safe='')}.part")
    try:
        with part.open("ab") as file:
            yield file
    except BaseException:  # also Ctrl-C, after which people continue a download
        if part.exists() and not part.stat().st_size:
            part.unlink()
        raise
    os.replace(part, target)
