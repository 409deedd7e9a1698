"""How long it takes until there is an engine where there is none."""

import time


class Coming:
    """The engine that is waited for. `seconds` is what the last one took, without its load of a
    model; 0 where none has come yet."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._asked_at: float | None = None  # on the monotonic clock

    @property
    def is_awaited(self) -> bool:
        """Is one waited for?"""
        return self._asked_at is not None

    def ask(self) -> None:
        """One is needed, from now on or since before."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def come(self, load_seconds: float) -> None:
        """An engine has loaded a model, in so many seconds."""
        if self._asked_at is not None:
            self.seconds = max(0.0, time.monotonic() - self._asked_at - load_seconds)
            self._asked_at = None
