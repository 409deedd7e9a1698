"""Tables and plots of what was found."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.plots import Line, Panel, save
from benchmarks.scale.experiments import Row
from benchmarks.tables import markdown

Found = Mapping[str, Any]
TITLES = {
    "loads": "Throughput and latency",
    "days": "Days with a rush hour and deaths",
    "fairness": "Fairness",
    "splitting": "Splitting large requests",
    "router": "The pool, a request",
    "http": "The API process, an answer",
}
"""What can be tried, and its title."""


def tables(found: Found) -> str:
    """The results as markdown; of a day all hours together."""
    shown = {**found, "days": [row for row in found["days"] if row["hour"] == "all"]}
    return "\n\n".join(
        f"### {title}\n\n{table(shown[name])}" for name, title in TITLES.items() if shown[name]
    )


def table(rows: list[Row]) -> str:
    """Rows with the same keys, as a table; a share is shown as it is."""
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


def plots(found: Found, folder: Path) -> None:
    """Draw each into a file of the folder. Raises ImportError where matplotlib is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Callable[[Found], list[Panel]]] = {
        "loads": _loads, "days": _days, "fairness": _fairness, "splitting": _splitting,
        "router": _router,
    }  # fmt: skip
    for name, panels in made.items():
        if found[name]:
            save(folder / f"{name}.svg", panels(found))


def _loads(found: Found) -> list[Panel]:
    rows = found["loads"]
    panels = []
    for machine in dict.fromkeys(row["machine"] for row in rows):
        mine = [row for row in rows if row["machine"] == machine]
        for value, title in (("requests/s", "requests/s"), ("p95 s", "p95, s")):
            lines = _lines(mine, "engines", value, lambda row: f"load {row['load']:g}")
            panels.append(Panel(f"{machine}: {title}", "engines", title, lines))
    return panels


def _days(found: Found) -> list[Panel]:
    hours = [{**row, "hour": int(row["hour"])} for row in found["days"] if row["hour"] != "all"]
    loads = {"load": [(row["hour"], row["load"]) for row in hours[:24]]}
    refused, p95 = (_lines(hours, "hour", value, _engines) for value in ("refused", "p95 s"))
    return [
        Panel("load", "hour", "of capacity", loads, is_log_x=False, is_log_y=False),
        Panel("refused at first", "hour", "share", refused, is_log_x=False, is_log_y=False),
        Panel("p95, s", "hour", "s", p95, is_log_x=False),
    ]


def _fairness(found: Found) -> list[Panel]:
    rows = found["fairness"]
    index = {"Jain's index": [(row["engines"], row["Jain's index"]) for row in rows]}
    name = "a greedy client's part of a modest one's"
    part = {name: [(row["engines"], row[name]) for row in rows]}
    return [
        Panel("fairness", "engines", "Jain's index", index, is_log_y=False),
        Panel("greed pays", "engines", "times as much", part, is_log_y=False),
    ]


def _splitting(found: Found) -> list[Panel]:
    rows = found["splitting"]

    def panel(size: str) -> Panel:
        lines = {
            f"{share}, p{percent}": _line(
                [row for row in rows if row["large requests"] == share], "load",
                f"{size} p{percent} s",
            )
            for share in ("whole", "split") for percent in (50, 95)
        }  # fmt: skip
        title = f"{rows[0]['engines']} engines: {size} requests"
        return Panel(title, "load", "s", lines, is_log_x=False)

    return [panel("large"), panel("small")]


def _router(found: Found) -> list[Panel]:
    lines = _lines(
        found["router"], "engines", "microseconds", lambda row: f"{row['jobs for each']} jobs each"
    )
    return [Panel("pool, a request", "engines", "microseconds", lines)]


def _engines(row: Row) -> str:
    return f"{row['engines']} engines" if row["engines"] > 1 else "1 engine"


def _lines(rows: Iterable[Row], x: str, y: str, name: Callable[[Row], str]) -> dict[str, Line]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(name(row), []).append(row)
    return {of: _line(these, x, y) for of, these in named.items()}


def _line(rows: Iterable[Row], x: str, y: str) -> Line:
    return [(row[x], row[y]) for row in rows if row[y] is not None and math.isfinite(row[y])]
