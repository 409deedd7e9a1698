"""Line plots of what was measured, as SVG or PNG by the file's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEGEND_LINE = 4.2, 3.2, 0.22
"""Of a panel and of a line of the legend, in inches."""
Line = Sequence[tuple[float, float]]
"""Points (x, y)."""


@dataclass(frozen=True)
class Panel:
    """One set of axes: a title, the axes' labels, and lines by name; which axes are logarithmic."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Line]
    is_log_x: bool = True
    is_log_y: bool = True


def save(path: Path, panels: Sequence[Panel]) -> None:
    """Draw the panels side by side; a line has the same look in all. The same panels give the same
    file. Raises ImportError where matplotlib is not installed."""
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    width = WIDTH * len(panels)
    columns = max(1, min(len(names), int(width / 3.2)))
    height = HEIGHT + LEGEND_LINE * -(-len(names) // columns)
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw(axis, panel, names)
        handles = {name: line for axis in axes for line, name in _named(axis)}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center",
            ncols=columns, frameon=False,
        )  # fmt: skip
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=150)
    if path.suffix == ".svg":  # matplotlib ends lines of paths with spaces
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line.rstrip()}\n" for line in lines))


def _draw(axis: Any, panel: Panel, names: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator

    for name, line in panel.lines.items():
        place = names.index(name)
        axis.plot(
            *zip(*line, strict=True), label=name, color=f"C{place % 10}",
            marker="os^vD"[place % 5], markersize=4,
            linewidth=2 if place == 0 else 1.2,
        )  # fmt: skip
    xs = sorted({x for line in panel.lines.values() for x, _ in line})
    axis.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    if panel.is_log_x:
        axis.set_xscale("log")
    if panel.is_log_x or len(xs) < 10:
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
    if panel.is_log_y:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _named(axis: Any) -> Any:
    return zip(*axis.get_legend_handles_labels(), strict=True)
