"""Ending a run when it is asked to: by Ctrl-C, by a scheduler, or because the terminal closes."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from diffusion.training.errors import Interrupted

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stop:
    """A request to end soon: `number` is that of the signal which made it, 0 as long as none has
    come."""

    def __init__(self) -> None:
        self.number = 0


@contextmanager
def ending_at_once(*, silent: bool = False) -> Iterator[None]:
    """A block that SIGTERM or SIGHUP ends with Interrupted, as Ctrl-C does with KeyboardInterrupt:
    there is nothing to save, but locks are to be given back. The message is empty where `silent`.

    A signal that is ignored stays so. The block is for the main thread.
    """
    known = [getattr(signal, name) for name in SIGNALS[1:] if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    heard = [number for number in known if before[number] is not signal.SIG_IGN]

    def end(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise Interrupted(number, "" if silent else f"{name}: ended; there was nothing to save")

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def listening(*, silent: bool = False) -> Iterator[Stop]:
    """A block in which the first SIGINT, SIGTERM or SIGHUP is only noted, and a second one ends the
    process at once. The user is told so, unless `silent`.

    A signal that is ignored, as `nohup` has SIGHUP ignored, stays so. The block is for the
    main thread.
    """
    stop = Stop()
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    heard = [number for number in known if before[number] is not signal.SIG_IGN]

    def note(number: int, _frame: FrameType | None) -> None:
        stop.number = number
        for each in heard:  # by the system: also while no Python code runs
            signal.signal(each, signal.SIG_DFL)
        if not silent:
            name = signal.Signals(number).name
            text = f"\n{name}: ending after this step; a second one ends at once\n"
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, text.encode())

    for number in heard:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number in heard:
            signal.signal(number, before[number])
