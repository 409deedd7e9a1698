"""Results as markdown tables, and as what JSON can carry."""

import math
from collections.abc import Sequence
from typing import Any

Cell = str | int | float | None


def markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table; None is an empty cell, a float has three significant digits. Raises ValueError for a
    row that is not as long as the header."""
    lines = [list(header), ["---"] * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells for {len(header)} columns: {row}")
        lines.append([cell_text(cell) for cell in row])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell_text(cell: Cell) -> str:
    """As it is shown: an infinite time is one that never came, nan is nothing measured."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if not isinstance(cell, float):
        return str(cell)
    if math.isinf(cell):
        return "never"
    digits = max(0, 2 - math.floor(math.log10(abs(cell)))) if cell else 0
    return f"{cell:.{digits}f}"


def finite(value: Any) -> Any:
    """With None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: finite(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [finite(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
