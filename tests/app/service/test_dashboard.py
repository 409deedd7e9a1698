"""deploy/grafana/ddpm.json asks for what GET /metrics has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.app.server import Server

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/ddpm.json").read_text())
METRIC = re.compile(r"\bddpm_\w+")
PARTS = ("_bucket", "_count", "_created")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def panels() -> Iterator[dict[str, Any]]:
    yield from DASHBOARD["panels"]


def served(server: Server) -> set[str]:
    """The names of the time series."""
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def test_every_metric_of_the_dashboard_is_served_and_documented(server: Server) -> None:
    names = served(server)
    page = (ROOT / "docs/operations.md").read_text()
    for panel in panels():
        for target in panel["targets"]:
            asked = set(METRIC.findall(target["expr"]))
            assert asked and asked <= names, f"{panel['title']}: {asked - names}"
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["type"] == "query")
    assert set(METRIC.findall(variable["query"]["query"])) <= names
    told = {name.removesuffix("_sum") for name in names if not name.endswith(PARTS)}
    assert not {name for name in told if f"`{name}`" not in page}


def test_the_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"] and panel["description"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(DASHBOARD["panels"])
