"""What is tried in simulated time. Each function returns rows of a table: dictionaries that have
the same keys."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.pool.sharing import Share, share
from benchmarks.percentile import percentile
from benchmarks.scale.clock import Clock
from benchmarks.scale.curves import Machine
from benchmarks.scale.requests import Load, Request, mean_rows
from benchmarks.scale.service import Service, Visit, kill, per_engine, whole

Row = dict[str, Any]
CLIENTS = 10
"""For each engine."""
COUNTED = 0.2, 0.9
"""Share of the time in which requests come that are counted: before, queues fill, and after, they
are not followed by others."""
QUEUE = 256
"""Samples for each engine that the queue holds, where nothing else is said."""


@dataclass(frozen=True)
class Trial:
    """Engines, and how long they are asked for images."""

    machine: Machine
    engines: int
    seconds: float
    seed: int = 0

    @property
    def capacity(self) -> float:
        """Network rows a second of all engines in full batches."""
        return self.engines * self.machine.rows_per_second

    def load(self, share: float, swing: float = 0.0) -> Load:
        """Requests that need this share of the capacity, on average; with `swing`, over one day
        that takes as long as the trial."""
        rate = share * self.capacity / mean_rows()
        return Load(rate, CLIENTS * self.engines, swing, self.seconds)

    def service(self, queue: int = QUEUE, share: Share = share) -> Service:
        """The server."""
        limits = per_engine(queue, self.engines)
        return Service(Clock(), self.machine, self.engines, limits, share)

    def counted(self, visits: Sequence[Visit]) -> list[Visit]:
        """The visits that are counted."""
        start, end = (share * self.seconds for share in COUNTED)
        return [visit for visit in visits if start <= visit.request.at < end]


def loads(trial: Trial, shares: Sequence[float]) -> list[Row]:
    """Throughput and latency by load."""
    return [_load(trial, share) for share in shares]


def _load(trial: Trial, share: float) -> Row:
    service = trial.service()
    service.expect(trial.load(share).requests(trial.seconds, trial.seed))
    held = _watch(service, trial)
    service.clock.run(trial.seconds)
    rows = service.rows_done
    service.clock.run(2 * trial.seconds)
    visits = trial.counted(service.visits)
    return {
        **_of(trial),
        "load": share,
        "requests/s": len(visits) / (COUNTED[1] - COUNTED[0]) / trial.seconds,
        "of capacity": rows / trial.seconds / trial.capacity,
        **_latencies(service, visits),
        "samples held for each engine": percentile(held, 50) / trial.engines,
        "at most": max(held) / trial.engines,
    }


def day(trial: Trial, share: float, swing: float, life: float) -> list[Row]:
    """A day with a rush hour, in which engines die: all of it, then each of its 24 hours."""
    service = trial.service(queue=128)
    load = trial.load(share, swing)
    service.expect(load.requests(trial.seconds, trial.seed))
    kill(service, life, trial.seed + 1)
    service.clock.run(2 * trial.seconds)
    deaths = sum(engine.deaths for engine in service.engines)
    service.finish(10 * trial.seconds)
    hours: list[list[Visit]] = [[] for _ in range(24)]
    for visit in service.visits:
        hours[int(24 * visit.request.at / trial.seconds)].append(visit)
    loads = [load.at((hour + 0.5) / 24 * trial.seconds) / load.rate * share for hour in range(24)]
    return [
        _day(trial, service, service.visits, "all", share, deaths),
        *(_day(trial, service, hours[h], str(h), loads[h], None) for h in range(24)),
    ]


def _day(
    trial: Trial, service: Service, visits: Sequence[Visit], hour: str, load: float,
    deaths: int | None,
) -> Row:  # fmt: skip
    refused = [visit for visit in visits if visit.promised is not None]
    truth = [visit.room / visit.promised for visit in refused if visit.room and visit.promised]
    return {
        **_of(trial),
        "hour": hour,
        "load": load,
        "deaths": deaths,
        **_latencies(service, visits),
        "no engine": _share([bool(v.refusals) and v.promised is None for v in visits]),
        "refused": _share([v.promised is not None for v in visits]),
        "given up": _share([bool(v.refusals) and math.isinf(v.done) for v in visits]),
        "lost": sum(not v.refusals and math.isinf(v.done) for v in visits),
        "room by Retry-After": _share([ratio <= 1 for ratio in truth]),
        "room after, of it": percentile(truth, 50),
        "in at first retry": _share([v.refusals == 1 for v in refused]),
    }


def fairness(trial: Trial) -> Row:
    """Clients that always want more, the greedy ones eight times as many requests at once: who gets
    how much. Jain's index is 1 where each gets the same."""
    service = trial.service(queue=4096)
    clients = 4 * trial.engines
    rows: Counter[str] = Counter()
    start = COUNTED[0] * trial.seconds

    def again(visit: Visit) -> None:
        if service.clock.now >= start:
            rows[visit.request.client] += visit.request.rows
        if service.clock.now < trial.seconds:
            service.ask(replace(visit.request, at=service.clock.now))

    service.on_done = again
    order = [place for place in range(clients) for _ in range(1 + 7 * (place % 4 == 0))]
    random.Random(trial.seed).shuffle(order)
    for place in order:
        service.ask(Request(0.0, f"client {place}", 8, 20))
    service.clock.run(trial.seconds)
    got = [rows[f"client {place}"] for place in range(clients)]
    greedy = sum(got[::4]) / len(got[::4])
    modest = (sum(got) - sum(got[::4])) / (clients - len(got[::4]))
    return {
        **_of(trial),
        "clients": clients,
        "Jain's index": jain(got),
        "a greedy client's part of a modest one's": greedy / modest,
        "of capacity": sum(got) / (trial.seconds - start) / trial.capacity,
    }


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index (1984): 1 where all are equal, 1 / their number where one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else math.nan


def splitting(trial: Trial, shares: Sequence[float]) -> list[Row]:
    """Requests of many images, whole and split as the pool does; and what that costs the others."""
    ways = {"whole": whole, "split": share}
    return [_split(trial, load, name, way) for load in shares for name, way in ways.items()]


def _split(trial: Trial, load: float, name: str, way: Share) -> Row:
    service = trial.service(queue=4096, share=way)
    service.expect(trial.load(load).requests(trial.seconds, trial.seed))
    service.clock.run(2 * trial.seconds)
    visits = trial.counted(service.visits)
    largest = trial.machine.curve.max_rows
    large = [visit.seconds for visit in visits if visit.request.n >= 2 * largest]
    small = [visit.seconds for visit in visits if visit.request.n <= 4]
    return {
        **_of(trial),
        "load": load,
        "large requests": name,
        "large p50 s": percentile(large, 50),
        "large p95 s": percentile(large, 95),
        "small p50 s": percentile(small, 50),
        "small p95 s": percentile(small, 95),
    }


def _of(trial: Trial) -> Row:
    return {"machine": trial.machine.name, "engines": trial.engines}


def _latencies(service: Service, visits: Sequence[Visit]) -> Row:
    """Of the requests that were answered."""
    answered = [visit for visit in visits if math.isfinite(visit.done)]
    seconds = [visit.seconds for visit in answered]
    slowdown = [visit.seconds / service.alone(visit.request) for visit in answered]
    return {
        "p50 s": percentile(seconds, 50),
        "p95 s": percentile(seconds, 95),
        "p99 s": percentile(seconds, 99),
        "slowdown p50": percentile(slowdown, 50),
        "slowdown p99": percentile(slowdown, 99),
    }


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else math.nan


def _watch(service: Service, trial: Trial) -> list[int]:
    """The samples in the queue, looked at a hundred times."""
    held: list[int] = []
    start, end = (share * trial.seconds for share in COUNTED)
    for look in range(100):
        at = start + (end - start) * look / 100
        service.clock.after(at, lambda: held.append(service.pool.queued_samples))
    return held
