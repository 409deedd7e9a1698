"""How a server grows: with the number of clients at once, and with the size of the images.

    pip install -c constraints.txt -e '.[openvino,benchmarks]'
    python -m benchmarks.growth --out growth.json --plot growth.svg

First an included model, asked for one image at a time by 1 to 1,000 clients at once, each of which
asks again when it is answered. Then 16 clients, and images of 28 to 256 pixels a side, in colour:
the network is the preset `small` with random weights, since the time does not depend on these. For
each point images a second, and how long 95% of the requests take at most. Each server has the
machine to itself; the points of one server follow one another.

    python -m benchmarks.growth --from growth.json --plot growth.svg   # the tables again
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import uvloop
from tqdm import tqdm

from benchmarks.load import Client, Request
from benchmarks.machine import machine
from benchmarks.networks import random
from benchmarks.percentile import percentile
from benchmarks.plots import Panel, save
from benchmarks.servers import Kind, kind_of, running
from benchmarks.tables import Cell, finite, markdown

TIMEOUT = 1800.0
ANSWERS_BUDGET = 1 << 30
"""Bytes for all answers of our server: the clients here have one address, and so one share."""
ROUNDS = 3
"""Answers for each client, at least: the first round is a burst, and does not count."""
Axis = Literal["clients", "size"]
AXES: dict[Axis, str] = {"clients": "clients at once", "size": "pixels a side"}


@dataclass(frozen=True)
class Point:
    """What one server did at one place of an axis; seconds."""

    server: str
    axis: Axis
    at: int
    images_per_second: float
    p50: float
    p95: float
    errors: int


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    servers: list[str]
    checkpoint: str
    clients: list[int]
    sizes: list[int]
    clients_of_sizes: int
    steps: int
    seconds: float
    device: str
    flags: list[str]


async def point(url: str, server: str, axis: Axis, at: int, clients: int, plan: Plan) -> Point:
    """Clients that ask again and again, for the plan's seconds or until each has its answers."""
    request = Request("/sample", {"n": 1, "sampler": "ddim", "steps": plan.steps})
    async with Client(url, TIMEOUT) as client:
        await client.closed_loop(request, "warm-up", 1, answers=1)
        loop = await client.closed_loop(
            request, "load", clients, seconds=plan.seconds, answers=ROUNDS * clients
        )
    waits = [answer.latency for answer in loop.answers]
    errors = sum(answer.error is not None for answer in loop.answers)
    return Point(
        server, axis, at, loop.images_per_second, percentile(waits, 50), percentile(waits, 95),
        errors,
    )  # fmt: skip


def measure(plan: Plan) -> list[Point]:
    """Every point of every server."""
    points: list[Point] = []
    total = len(plan.servers) * (len(plan.clients) + len(plan.sizes))
    with tempfile.TemporaryDirectory() as name, tqdm(total=total, unit="point") as bar:
        folder = Path(name)
        for server in plan.servers:
            if plan.clients:
                kind = kind_of(server, plan.checkpoint, plan.device, plan.flags)
                with running(kind, folder / "log") as ready:
                    for clients in plan.clients:
                        points.append(run_point(ready.url, kind, "clients", clients, clients, plan))
                        bar.update()
            for size in plan.sizes:
                network = random(f"{size} pixels", "small", size, 3, folder / f"{server}-{size}")
                kind = kind_of(server, network.folder, plan.device, plan.flags)
                with running(kind, folder / "log") as ready:
                    points.append(
                        run_point(ready.url, kind, "size", size, plan.clients_of_sizes, plan)
                    )
                bar.update()
    return points


def run_point(url: str, kind: Kind, axis: Axis, at: int, clients: int, plan: Plan) -> Point:
    """Measure one point."""
    return uvloop.run(point(url, kind.name, axis, at, clients, plan))


def tables(found: dict[str, Any]) -> str:
    """The points as markdown, a table for each axis."""
    parts = [f"{found['machine']}"]
    for axis, name in AXES.items():
        rows: list[list[Cell]] = [
            [p["server"], p["at"], p["images_per_second"], p["p50"], p["p95"], p["errors"]]
            for p in found["points"] if p["axis"] == axis
        ]  # fmt: skip
        if rows:
            header = ["server", name, "images/s", "p50 s", "p95 s", "errors"]
            parts.append(markdown(header, rows))
    return "\n\n".join(parts)


def plot(found: dict[str, Any], path: Path) -> None:
    """Images a second and the 95th percentile, against both axes."""
    shown = {"images/s": "images_per_second", "p95, s": "p95"}
    panels = []
    for axis, name in AXES.items():
        points = [p for p in found["points"] if p["axis"] == axis]
        for label, value in shown.items():
            lines = {
                server: [(p["at"], p[value]) for p in points if p["server"] == server and p[value]]
                for server in dict.fromkeys(p["server"] for p in points)
            }
            if lines:
                panels.append(Panel(label, name, label, lines))
    save(path, panels)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--servers", nargs="+", default=["ours"],
        help="ours, lock or litserve-BATCH (%(default)s)")  # fmt: skip
    add("--checkpoint", default="models/mnist", help="model asked by many (%(default)s)")
    add("--clients", nargs="*", type=int, default=[1, 4, 16, 64, 256, 1000],
        help="numbers of clients at once (%(default)s)")  # fmt: skip
    add("--sizes", nargs="*", type=int, default=[28, 32, 64, 128, 256],
        help="pixels a side, multiples of 4 (%(default)s)")  # fmt: skip
    add("--clients-of-sizes", type=int, default=16, metavar="CLIENTS",
        help="clients at once for each size (%(default)s)")  # fmt: skip
    add("--steps", type=int, default=10, help="steps of an image, DDIM (%(default)s)")
    add("--seconds", type=float, default=10.0, help="time for a point, at least (%(default)s)")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="of all servers (%(default)s)")
    add("--flag", action="append", default=[], metavar="--NAME=VALUE", dest="flags",
        help="flag of our server, any number of times")  # fmt: skip
    add("--out", type=Path, help="write what was measured to this JSON file")
    add("--plot", type=Path, help="write the plot to this file, .svg or .png")
    add("--from", dest="source", type=Path, metavar="JSON", help="measure nothing; read this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    if args.source:
        found = json.loads(args.source.read_text())
    else:
        plan = Plan(
            args.servers, args.checkpoint, args.clients, args.sizes, args.clients_of_sizes,
            args.steps, args.seconds, args.device,
            [f"--device={args.device}", f"--answers-budget-bytes={ANSWERS_BUDGET}", *args.flags],
        )  # fmt: skip
        try:
            for server in plan.servers:
                kind_of(server, plan.checkpoint, plan.device, plan.flags)
        except ValueError as error:
            print(f"--servers: {error}", file=sys.stderr)
            return 2
        found = finite(
            {"machine": machine(args.device), "plan": asdict(plan),
             "points": [asdict(one) for one in measure(plan)]}
        )  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if args.plot:
        plot(found, args.plot)
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
