"""The engine's steps against those of a bare loop."""

import statistics
import time
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bare_loop import Rounds

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 30.0
"""The engine tells its counts once a second, at the end of a step."""


@dataclass(frozen=True)
class Reading:
    """Steps that the engines have taken until `at` (time.perf_counter), by batch size."""

    at: float
    steps: dict[int, int]


def read(http: httpx.Client) -> Reading:
    """From GET /metrics."""
    lines = http.get("/metrics").text.splitlines()
    text = "\n".join(line for line in lines if "ddpm_engine_steps_total" in line)
    steps: dict[int, int] = {}
    for family in text_string_to_metric_families(f"{text}\n"):
        for sample in family.samples:
            if sample.name == "ddpm_engine_steps_total":
                size = int(sample.labels["batch_size"])
                steps[size] = steps.get(size, 0) + int(sample.value)
    return Reading(time.perf_counter(), steps)


def read_at_change(url: str) -> Reading:
    """Read at the moment that an engine tells its counts: what is read is then up to date. Raises
    RuntimeError when the counts stand still."""
    with httpx.Client(base_url=url, verify=False) as http:  # certificates take 20 ms to load
        before = read(http)
        while (now := read(http)).at < before.at + PATIENCE_SECONDS:
            if now.steps != before.steps:
                return now
            time.sleep(POLL_SECONDS)
    raise RuntimeError("the engine has counted no step")


@dataclass(frozen=True)
class EngineRate:
    """What the engine did in a window, and how long a step of each size takes without it: in a bare
    loop, and the network's part of that."""

    seconds: float
    steps: dict[int, int]
    bare_seconds: dict[int, float]
    network_seconds: dict[int, float]

    @classmethod
    def of(cls, seconds: float, steps: dict[int, int], *bare: Rounds) -> "EngineRate":
        """Beside the bare loop's rounds before and after: the machine may change meanwhile."""

        def median(size: int, *, has_update: bool) -> float:
            return statistics.median(
                t for rounds in bare for t in rounds.get((size, has_update), [])
            )

        of_loop = {size: median(size, has_update=True) for size in steps}
        of_network = {size: median(size, has_update=False) for size in steps}
        return cls(seconds, steps, of_loop, of_network)

    @property
    def steps_per_second(self) -> float:
        """The engine's."""
        return sum(self.steps.values()) / self.seconds

    @property
    def share_of_bare(self) -> float:
        """The engine's steps a second over the bare loop's, for as many steps of each size."""
        return self._needed(self.bare_seconds) / self.seconds

    @property
    def share_of_network(self) -> float:
        """The part of its time that the engine's network needs alone."""
        return self._needed(self.network_seconds) / self.seconds

    def _needed(self, seconds: dict[int, float]) -> float:
        return sum(count * seconds[size] for size, count in self.steps.items())


def difference(first: Reading, last: Reading) -> dict[int, int]:
    """Steps taken between two readings, by batch size."""
    taken = {size: count - first.steps.get(size, 0) for size, count in last.steps.items()}
    return {size: count for size, count in sorted(taken.items()) if count}
