"""The plots of a report, matplotlib's figures."""

import importlib.util
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusion.evaluation.cache import EvaluationError


def check_plots() -> None:
    """Raise EvaluationError where matplotlib is missing: better before the work than after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise EvaluationError(
            "report: matplotlib is not installed, which draws the plots; install the extra `train`"
        )


def plots(report: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the report's plots: matplotlib figures by name."""
    by_t = report["by_timestep"]
    made = {}
    if has_every_term(by_t):
        made = {"rate-distortion": rate_distortion(by_t), "terms": terms(by_t)}
    if report["samplers"]:
        made["distance-by-steps"] = by_steps(report)
    return made


def has_every_term(by_t: Mapping[str, list[float]]) -> bool:
    """Was every t drawn at least once?"""
    return all(error > 0 for error in by_t["eps_mse"])


def svg(figure: Any) -> str:
    """Write a figure as an SVG element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(columns: int, width: float = 5.0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, 3.5), layout="constrained")
    return figure, figure.subplots(1, columns)


def rate_distortion(by_t: Mapping[str, list[float]]) -> Any:
    """Draw the error against the rate, from a report's `by_timestep` (the paper's Fig. 5)."""
    figure, axes = _axes(1)
    axes.plot(by_t["rate"], by_t["rmse"])
    axes.set(xlabel="rate, bits/dim", ylabel="distortion, RMSE", ylim=(0, None))
    return figure


def terms(by_t: Mapping[str, list[float]]) -> Any:
    """Draw the term of the bound, and the error of eps_hat, at each t."""
    figure, (left, right) = _axes(2)
    times = range(1, len(by_t["eps_mse"]) + 1)
    left.loglog(times, np.maximum(by_t["bits_per_dim"], 1e-12))
    left.set(xlabel="t", ylabel="bits/dim")
    right.loglog(times, by_t["eps_mse"])
    right.set(xlabel="t", ylabel="mean squared error")
    return figure


def by_steps(report: Mapping[str, Any]) -> Any:
    """Draw each sampler's distance against its steps, with its interval, above the floor."""
    figure, axes = _axes(1, width=7.5)
    by_name: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in report["samplers"]:
        name, _, rest = row["sampler"].partition(":")
        rest, _, guidance = rest.partition("@")
        steps, _, spacing = rest.partition("/")
        label = f"{name} {spacing}" if spacing else name
        label = f"{label}, guidance {guidance}" if guidance else label
        by_name.setdefault(label, []).append((int(steps), row))
    for name, points in by_name.items():
        points.sort(key=lambda point: point[0])
        steps_of, rows = zip(*points, strict=True)
        values = np.array([row["frechet"] for row in rows])
        # Older reports have no intervals
        ends = np.array([row.get("frechet_interval", (row["frechet"],) * 2) for row in rows]).T
        bars = np.abs(ends - values)
        axes.errorbar(steps_of, values, bars, marker="o", capsize=3, label=name)
    floor = report["floor"]["frechet"]
    deviation = report["floor"].get("frechet_deviation", 0)
    axes.axhline(floor, color="grey", linestyle=":", label="floor")
    axes.axhspan(max(floor - deviation, floor / 2), floor + deviation, color="grey", alpha=0.2)
    axes.set(xlabel="steps", ylabel="Fréchet distance", xscale="log", yscale="log")
    shown = sorted({steps for points in by_name.values() for steps, _ in points})
    axes.set_xlim(shown[0] / 1.5, shown[-1] * 1.5)
    axes.set_xticks([], minor=True)
    axes.set_xticks(shown, map(str, shown))
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter("{x:g}")  # not 8 x 10^-1
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
