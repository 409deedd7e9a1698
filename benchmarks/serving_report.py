"""What `benchmarks.serving` measured, and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.engine_rate import EngineRate
from benchmarks.load import Answer, percentile
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
class Report:
    """What one server did."""

    server: str
    saturated_images_per_second: float
    saturated: Latencies
    engine: dict[int, EngineRate]  # by the steps of the images asked for; ours only
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
        *(engine_text(report.engine) for report in reports if report.engine),
    ]  # fmt: skip
    return "\n\n".join(parts)


def saturation_table(reports: Sequence[Report]) -> str:
    """Throughput, latency and memory under as much as the server can do."""
    us = our_report(reports)
    header = ["server", "images/s", "p50 s", "p95 s", "p99 s", "errors", "peak MiB", "ours / it"]
    rows: list[list[Cell]] = []
    for r in reports:
        ratio = us.saturated_images_per_second / r.saturated_images_per_second if us else None
        s = r.saturated
        rows.append(
            [r.server, r.saturated_images_per_second, s.p50, s.p95, s.p99, s.errors,
             round(r.peak_memory_bytes / MIB), other(r, us, ratio)]
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


def engine_text(rates: Mapping[int, EngineRate]) -> str:
    """The engine's steps against the bare loop's."""
    header = [
        "steps an image", "seconds", "steps/s", "a bare loop's", "the engine's share",
        "batch size: steps, ms of a bare loop",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for steps, rate in rates.items():
        sizes = "; ".join(
            f"{size}: {count}, {rate.bare_seconds[size] * 1000:.3g}"
            for size, count in rate.steps.items()
        )
        rows.append(
            [steps, rate.seconds, rate.steps_per_second, rate.bare_steps_per_second,
             f"{rate.ratio:.1%}", sizes]
        )  # fmt: skip
    return "### Engine\n\n" + markdown(header, rows)


def our_report(reports: Sequence[Report]) -> Report | None:
    """Ours, if it was measured."""
    return next((report for report in reports if report.server == "ours"), None)


def other(report: Report, us: Report | None, ratio: float | None) -> float | None:
    """The ratio, except for our own row."""
    return None if report is us else ratio
