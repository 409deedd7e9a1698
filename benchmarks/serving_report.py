"""What `benchmarks.serving` measured, and its tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.engine_rate import EngineRate
from benchmarks.load import Answer
from benchmarks.percentile import percentile
from benchmarks.tables import Cell, markdown

MIB = 1 << 20


@dataclass(frozen=True)
class Latencies:
    """How a set of requests went; seconds."""

    requests: int
    errors: int
    p50: float
    p95: float
    p99: float
    first_frame_p50: float | None
    first_frame_p95: float | None

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> "Latencies":
        """Of all answers; those with an error are infinitely late."""
        waits = [answer.latency for answer in answers]
        frames = [a.first_frame for a in answers if a.first_frame is not None]
        return cls(
            len(answers), sum(answer.error is not None for answer in answers),
            percentile(waits, 50), percentile(waits, 95), percentile(waits, 99),
            percentile(frames, 50) if frames else None, percentile(frames, 95) if frames else None,
        )  # fmt: skip


@dataclass(frozen=True)
class OpenLoop:
    """One mix at one rate; `rate` is in multiples of the capacity."""

    mix: str
    rate: float
    images_per_second: float
    latencies: Latencies


@dataclass(frozen=True)
class Saturation:
    """What one server did under as much as it can do, in each of several turns."""

    images_per_second: list[float]
    answers: list[Answer]
    engine: dict[int, list[EngineRate]]  # by the steps of the images asked for; ours only

    @property
    def median(self) -> float:
        """Images/s."""
        return statistics.median(self.images_per_second)


@dataclass(frozen=True)
class Report:
    """What one server did."""

    server: str
    saturation: Saturation
    alone: Latencies
    beside: Latencies
    open_loops: list[OpenLoop]
    peak_memory_bytes: int


def tables(reports: Sequence[Report]) -> str:
    """The reports as markdown; ratios above 1 are in our favour."""
    parts = [
        "### Saturation", saturation_table(reports),
        "### One image beside 64-image requests", beside_table(reports),
        "### Open loop", open_loop_table(reports),
        *(engine_text(r.saturation.engine) for r in reports if r.saturation.engine),
    ]  # fmt: skip
    return "\n\n".join(parts)


def saturation_table(reports: Sequence[Report]) -> str:
    """Throughput, latency and memory under as much as the server can do. Ratios are of the same
    turn, in which the servers were measured one right after the other."""
    us = our_report(reports)
    header = [
        "server", "images/s", "p50 s", "p95 s", "p99 s", "errors", "peak MiB", "ours / it",
        "by turn",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in reports:
        ratios = []
        if us is not None and r is not us:
            pairs = zip(
                us.saturation.images_per_second, r.saturation.images_per_second, strict=True
            )
            ratios = [ours / its for ours, its in pairs]
        s = Latencies.of(r.saturation.answers)
        rows.append(
            [r.server, r.saturation.median, s.p50, s.p95, s.p99, s.errors,
             round(r.peak_memory_bytes / MIB), statistics.median(ratios) if ratios else None,
             ", ".join(f"{ratio:.3g}" for ratio in ratios)]
        )  # fmt: skip
    return markdown(header, rows)


def beside_table(reports: Sequence[Report]) -> str:
    """What a large neighbour does to a small request."""
    us = our_report(reports)
    header = [
        "server", "alone p50 s", "alone p95 s", "beside p50 s", "beside p95 s", "answers beside",
        "errors", "p95 beside / alone", "its p95 beside / ours",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in reports:
        a, b = r.alone, r.beside
        ratio = b.p95 / us.beside.p95 if us else None
        rows.append(
            [r.server, a.p50, a.p95, b.p50, b.p95, b.requests - b.errors, a.errors + b.errors,
             b.p95 / a.p95, other(r, us, ratio)]
        )  # fmt: skip
    return markdown(header, rows)


def open_loop_table(reports: Sequence[Report]) -> str:
    """By mix and rate, then by server."""
    us = our_report(reports)
    best = {(loop.mix, loop.rate): loop for loop in us.open_loops} if us else {}
    header = [
        "mix", "of capacity", "server", "requests", "errors", "images/s", "p50 s", "p95 s",
        "p99 s", "first frame p50 s", "p95 s", "its p95 / ours",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for mix, rate in dict.fromkeys((o.mix, o.rate) for r in reports for o in r.open_loops):
        for r in reports:
            for loop in r.open_loops:
                if (loop.mix, loop.rate) != (mix, rate):
                    continue
                s = loop.latencies
                ratio = s.p95 / best[mix, rate].latencies.p95 if best else None
                rows.append(
                    [mix, f"{rate:g}", r.server, s.requests, s.errors, loop.images_per_second,
                     s.p50, s.p95, s.p99, s.first_frame_p50, s.first_frame_p95,
                     other(r, us, ratio)]
                )  # fmt: skip
    return markdown(header, rows)


def engine_text(by_steps: Mapping[int, Sequence[EngineRate]]) -> str:
    """The engine's steps against the bare loop's, turn by turn."""
    header = [
        "steps an image", "seconds", "steps/s", "of a bare loop's", "of the network's alone",
        "batch size: steps, ms of a bare loop, of the network",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for steps, rates in by_steps.items():
        for rate in rates:
            sizes = "; ".join(
                f"{size}: {count}, {rate.bare_seconds[size] * 1000:.3g}, "
                f"{rate.network_seconds[size] * 1000:.3g}"
                for size, count in rate.steps.items()
            )
            rows.append(
                [steps, rate.seconds, rate.steps_per_second, f"{rate.share_of_bare:.1%}",
                 f"{rate.share_of_network:.1%}", sizes]
            )  # fmt: skip
        bare = statistics.median(rate.share_of_bare for rate in rates)
        network = statistics.median(rate.share_of_network for rate in rates)
        rows.append([steps, None, None, f"{bare:.1%}", f"{network:.1%}", "the median"])
    return "### Engine\n\n" + markdown(header, rows)


def our_report(reports: Sequence[Report]) -> Report | None:
    """Ours, if it was measured."""
    return next((report for report in reports if report.server == "ours"), None)


def other(report: Report, us: Report | None, ratio: float | None) -> float | None:
    """The ratio, except for our own row."""
    return None if report is us else ratio
