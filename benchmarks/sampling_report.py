"""What `benchmarks.sampling` measured, as tables and as a plot."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.plots import Panel, save
from benchmarks.tables import Cell, cell_text, markdown

CHAIN = 50
"""Steps of the image whose time is told."""
Measured = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""The cells of one network and precision, by contender and batch size; those that were measured."""


def groups(found: Mapping[str, Any]) -> dict[tuple[str, str], Measured]:
    """What was measured, by network and precision."""
    by: dict[tuple[str, str], dict[str, dict[int, Mapping[str, Any]]]] = {}
    for cell in found["cells"]:
        if cell["step_seconds"]:
            group = by.setdefault((cell["network"], cell["precision"]), {})
            group.setdefault(cell["contender"], {})[cell["size"]] = cell
    return dict(by)


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs on one machine as one; of its peaks the largest that was seen."""
    networks: dict[str, Any] = {}
    for part in parts:
        for name, network in part["networks"].items():
            peaks = networks.setdefault(name, {**network, "peaks": {}})["peaks"]
            for precision, peak in network["peaks"].items():
                peaks[precision] = max(peak, peaks.get(precision, 0.0))
    cells = [cell for part in parts for cell in part["cells"]]
    return {**parts[0], "networks": networks, "cells": cells}


def rate(cell: Mapping[str, Any]) -> float:
    """Image-steps a second: the median of the rounds."""
    seconds: float = statistics.median(cell["step_seconds"])
    return cell["size"] / seconds  # type: ignore[no-any-return]


def ratio(ours: Mapping[str, Any] | None, its: Mapping[str, Any]) -> float | None:
    """How many times its time a step is of ours: the median of the rounds' ratios."""
    if ours is None or ours is its:
        return None
    pairs = zip(its["step_seconds"], ours["step_seconds"], strict=True)
    times: float = statistics.median(theirs / mine for theirs, mine in pairs)
    return times


def tables(found: Mapping[str, Any]) -> str:
    """All of it as markdown, a table for each network and precision."""
    parts = [f"{found['machine']}"]
    for (network, precision), measured in groups(found).items():
        size = found["networks"][network]
        peak = size["peaks"][precision]
        parts.append(
            f"### {network}, {precision}\n\n"
            f"{size['parameters']:,} parameters, {size['flops'] / 1e9:.3g} GFLOP an image-step; "
            f"the machine's peak {cell_text(peak / 1e9)} GFLOP/s."
        )
        parts.append(table(measured, size["flops"], peak))
    reasons = {
        f"- {cell['contender']}, {cell['network']}, {cell['precision']}, {cell['size']}: "
        f"{cell['error']}": None
        for cell in found["cells"] if cell["error"]
    }  # fmt: skip
    if reasons:
        parts.append("Not measured:\n\n" + "\n".join(reasons))
    return "\n\n".join(parts)


def table(measured: Measured, flops: int, peak: float) -> str:
    """One network in one precision. A cell is image-steps/s at a batch size and, in brackets, how
    many times as fast the first contender is."""
    sizes = sorted({size for cells in measured.values() for size in cells})
    is_alone = 1 in sizes
    header = [
        "", *(f"B = {size}" for size in sizes),
        *([f"s for an image, {CHAIN} steps"] if is_alone else []), "best GFLOP/s", "of peak",
    ]  # fmt: skip
    first = next(iter(CONTENDERS))
    rows: list[list[Cell]] = []
    for name, cells in measured.items():
        shown = [
            _shown(cells.get(size), measured.get(first, {}).get(size)) for size in sizes
        ]  # fmt: skip
        best = max(map(rate, cells.values())) * flops
        alone = [CHAIN / rate(cells[1]) if 1 in cells else None] if is_alone else []
        rows.append(
            [CONTENDERS[name].about, *shown, *alone, best / 1e9, f"{best / peak:.0%}"]
        )  # fmt: skip
    return markdown(header, rows)


def _shown(cell: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    times = ratio(ours, cell)
    return cell_text(rate(cell)) + ("" if times is None else f" ({cell_text(times)})")


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Image-steps a second against the batch size, a panel for each network and precision."""
    panels = [
        Panel(f"{network}, {precision}", "batch size", "image-steps/s", _lines(measured))
        for (network, precision), measured in groups(found).items()
    ]
    save(path, panels)


def _lines(measured: Measured) -> dict[str, Sequence[tuple[float, float]]]:
    return {
        CONTENDERS[name].about: [(size, rate(cell)) for size, cell in sorted(cells.items())]
        for name, cells in measured.items()
    }
