"""What became of everything that was asked of the server."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

MAX_PROBLEMS = 200
"""Problems that are told; all are counted."""
TELL = 500
"""Characters of an answer that a problem quotes."""


class Lost(Exception):
    """What was asked for has not been answered, and no kill of ours is the reason."""


class Wrong(Exception):
    """An answer that is not the known one."""


@dataclass
class Seen:
    """Counts by name, and the problems in words."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def count(self, name: str, by: int = 1) -> None:
        """One more of these."""
        self.counts[name] += by

    def problem(self, name: str, why: str) -> None:
        """One more of these, which should not be."""
        self.counts[name] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{time.strftime('%H:%M:%S')} {name}: {why}")

    @contextlib.asynccontextmanager
    async def watching(self, what: str, seconds: float) -> AsyncIterator[None]:
        """A block whose failure is a problem: `wrong` where it raises Wrong, else `lost`, also
        when it takes longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except Wrong as error:
            self.problem("wrong", f"{what}: {error}")
        except TimeoutError:
            self.problem("lost", f"{what}: not done in {seconds:g} s")
        except Exception as error:  # whatever the server made of it, the soak goes on
            self.problem("lost", f"{what}: {error!r}")
