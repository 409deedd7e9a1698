"""What a client prefers: the Prefer header (RFC 7240)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

WAIT = re.compile(r"wait=(\d{1,9})")


class Preferences(NamedTuple):
    """The preferences that this server honours. `wait`: seconds; None when not given.

    An endpoint that can't honour one goes on as if it had not been given (RFC 7240, section 2): an
    answer that honours `respond-async` says so in Preference-Applied.
    """

    respond_async: bool
    wait: int | None

    def wait_seconds(self, longest: int) -> int:
        """Seconds that the client waits for its answer: at most the server's `longest`."""
        return longest if self.wait is None else min(self.wait, longest)


def parse(headers: Iterable[str]) -> Preferences:
    """The preferences in the values of a request's Prefer headers.

    Parameters and unknown preferences are ignored. Of several waits the shortest counts.
    """
    # Only what stands before a semicolon: parameters mean nothing to these preferences.
    elements = [element.partition(";")[0].strip() for element in ",".join(headers).split(",")]
    preferences = [element.lower() for element in elements]
    waits = [int(match[1]) for match in map(WAIT.fullmatch, preferences) if match]
    return Preferences("respond-async" in preferences, min(waits, default=None))
