"""SIGINT, SIGTERM and SIGHUP, for a program in which Ray runs."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Self

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READ_BYTES = 4096
"""More signals than come between two looks."""


class Signals:
    """Counts signals as long as the block lasts: SIGINT and SIGTERM are to stop the program; SIGHUP
    is, too, unless there is something to read again.

    Ray sets a handler of its own while it starts, and what a handler raises may be swallowed where
    it strikes. So the system's own note of each signal is counted, and none is lost.
    """

    def __init__(self, *, hangup_stops: bool) -> None:
        self._stopping = {signal.SIGINT, signal.SIGTERM}
        if hangup_stops:
            self._stopping.add(signal.SIGHUP)

    def __enter__(self) -> Self:
        self._counts: Counter[int] = Counter()
        self._after: int | None = None
        self._notes, notes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, notes)
            undo.callback(os.close, self._notes)
            before = signal.set_wakeup_fd(notes, warn_on_full_buffer=False)
            undo.callback(signal.set_wakeup_fd, before)
            for number in HANDLED:
                undo.callback(signal.signal, number, signal.getsignal(number))
            self.take()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def take(self) -> None:
        """Handle the signals here, whoever has set other handlers meanwhile."""
        for number in HANDLED:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
                signal.signal(number, self._interrupt)

    @contextlib.contextmanager
    def interrupting(self, after: int = 0) -> Iterator[None]:
        """Raise KeyboardInterrupt in this block once more than `after` signals have come that are
        to stop the program."""
        self._after = after
        try:
            self._interrupt()
            yield
        finally:
            self._after = None

    @property
    def is_stopping(self) -> bool:
        """Is the program to stop?"""
        return self._stops > 0

    @property
    def is_hurried(self) -> bool:
        """Has it been told twice, so that nothing is to be waited for?"""
        return self._stops > 1

    @property
    def hangups(self) -> int:
        """How often SIGHUP has come."""
        return self._count()[signal.SIGHUP]

    @property
    def _stops(self) -> int:
        counts = self._count()
        return sum(counts[number] for number in self._stopping)

    def _count(self) -> Counter[int]:
        with contextlib.suppress(BlockingIOError):
            self._counts.update(os.read(self._notes, READ_BYTES))
        return self._counts

    def _interrupt(self, *_: object) -> None:
        if self._after is not None and self._stops > self._after:
            self._after = None
            raise KeyboardInterrupt
