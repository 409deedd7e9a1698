"""Telling the user something: beside a progress bar, and even when the terminal is gone."""

import os
import sys
from typing import Any, TextIO

from tqdm import tqdm

FILE_SECONDS = 30.0
"""How often a bar is drawn in a file: in a week it would fill a disk."""


class Lasting:
    """A text stream that outlives what it writes to: once that is gone, a terminal that was closed
    or the reader of a pipe, the rest goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, of which nothing is kept back."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` keeps nothing back."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _let_go(self) -> None:
        """Send to nowhere what is written from now on, and what the stream still holds."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def progress_bar(
    total: int, description: str, *, initial: int = 0, shown: bool = True, beside: bool = False
) -> "tqdm[Any]":
    """Make a bar of steps on standard error, drawn less often where that is not a terminal.

    A bar `beside` another one takes its line, and leaves it when it is closed.
    """
    seconds = 0.1 if sys.stderr.isatty() else FILE_SECONDS
    return tqdm(
        total=total, desc=description, initial=initial, unit="step", disable=not shown,
        mininterval=seconds, maxinterval=max(seconds, 10), file=Lasting(sys.stderr),
        leave=not beside, position=0,
    )  # fmt: skip


def tell(bar: "tqdm[Any]", message: str) -> None:
    """Print a line above a progress bar."""
    bar.clear()
    print(message, file=Lasting(sys.stdout))
    bar.refresh()
