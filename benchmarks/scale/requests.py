"""Who asks for what, and when: heavy-tailed requests of many clients, more by day than by night."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

LARGEST = 64
"""Images in a request, at most."""
TAIL = 1.5
"""Exponent of the Pareto distribution of their number: 1 in 2.8 asks for 2 and more, 1 in 180 for
32 and more."""
STEPS = {8: 0.40, 20: 0.30, 50: 0.25, 250: 0.05}
"""Steps of an image, and the share of the requests that ask for so many."""
POPULARITY = 1.0
"""Exponent of the Zipf distribution of requests over clients."""


@dataclass(frozen=True, slots=True)
class Request:
    """Images that a client asks for; `at` is when, in seconds."""

    at: float
    client: str
    n: int
    steps: int

    @property
    def rows(self) -> int:
        """Network rows that it takes."""
        return self.n * self.steps


@dataclass(frozen=True)
class Load:
    """Requests that come at random, on average `rate` a second; with `swing`, between 1 - swing and
    1 + swing times as many, as a sine of this `period`, in seconds."""

    rate: float
    clients: int
    swing: float = 0.0
    period: float = 1.0

    def requests(self, seconds: float, seed: int) -> Iterator[Request]:
        """The requests of so many seconds. The same seed gives the same ones."""
        source = random.Random(seed)
        weights = [1 / place**POPULARITY for place in range(1, self.clients + 1)]
        popular = list(itertools.accumulate(weights))
        names = [f"client {place}" for place in range(self.clients)]
        kinds, shares = list(STEPS), list(itertools.accumulate(STEPS.values()))
        at, highest = 0.0, self.rate * (1 + self.swing)
        while (at := at + source.expovariate(highest)) < seconds:
            if source.random() * highest < self.at(at):
                (name,) = source.choices(names, cum_weights=popular)
                (steps,) = source.choices(kinds, cum_weights=shares)
                yield Request(at, name, min(LARGEST, int(source.paretovariate(TAIL))), steps)

    def at(self, seconds: float) -> float:
        """Requests a second at this time."""
        return self.rate * (1 + self.swing * math.sin(2 * math.pi * seconds / self.period))


def mean_rows() -> float:
    """Network rows of a request, on average."""
    images: float = sum(n**-TAIL for n in range(1, LARGEST + 1))  # P(at least n) = n**-TAIL
    return images * sum(steps * share for steps, share in STEPS.items())
