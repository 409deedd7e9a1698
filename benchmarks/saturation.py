"""Images that servers make in a second of processor time, at saturation: for a machine that does
other work, too, where `benchmarks.serving` would measure that work.

    pip install -e '.[openvino,benchmarks]'
    python -m benchmarks.saturation
    python -m benchmarks.saturation --servers ours several  # what other loaded models cost one

Each server has one thread for the network. All are up and take turns, in which the others are
stopped: clients ask for one image, again and again. The time is that of all of a server's
processes, as the system counts it. A ratio is of the same turn; above 1 the last server is faster.
"""

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import uvloop

from benchmarks.load import Client, Request
from benchmarks.machine import machine
from benchmarks.servers import Kind, Running, kind_of, paused, running
from benchmarks.starting import cpu_seconds
from benchmarks.tables import Cell, markdown
from diffusion.config import Precision

OTHERS = "models/mnist-linear,models/cifar10"
"""Models that `several` has loaded beside the one that is asked for."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SERVERS = ("litserve-8@bfloat16", "litserve-16@bfloat16", "ours@float32", "ours@bfloat16")
TIMEOUT = 900.0
"""Seconds after which a request has failed, and a model has not been loaded."""


def kind(text: str, checkpoint: str) -> Kind:
    """Read `litserve-16@bfloat16`: a server and its precision, on one thread. Raises ValueError for
    what there is not."""
    name, _, written = text.partition("@")
    precision: Precision = "bfloat16" if written == "bfloat16" else "float32"
    if written not in ("", precision):
        raise ValueError(f"{text!r}: the precision must be float32 or bfloat16")
    if name == "several":
        name, checkpoint = "ours", f"{checkpoint},{OTHERS}"
    made = kind_of(name, checkpoint, "cpu", ["--device=cpu", "--threads=1"], precision)
    return dataclasses.replace(made, name=text, variables=ONE_THREAD)


def wait_for_models(server: Running) -> None:
    """Return when a server of ours has loaded all its models. Raises TimeoutError."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        models = httpx.get(f"{server.url}/models").json()["models"]
        if all(model["state"] == "ready" for model in models):
            return
        time.sleep(0.5)
    raise TimeoutError(f"{server.kind.name} does not load its models")


async def rate(server: Running, request: Request, clients: int, answers: int) -> float:
    """Images a second of processor time. Raises RuntimeError where a request fails."""
    async with Client(server.url, TIMEOUT) as client:
        await client.closed_loop(request, "warm-up", 1, answers=1)
        before = sum(map(cpu_seconds, server.tree()))
        loop = await client.closed_loop(request, "load", clients, answers=answers)
        taken = sum(map(cpu_seconds, server.tree())) - before
    errors = [answer.error for answer in loop.answers if answer.error is not None]
    if errors:
        raise RuntimeError(f"{server.kind.name}: {errors[0]}")
    return sum(answer.images for answer in loop.answers) / taken


async def in_turn(
    servers: Sequence[Running], request: Request, args: argparse.Namespace
) -> dict[str, list[float]]:
    """The rate of every server, turn by turn."""
    found: dict[str, list[float]] = {server.kind.name: [] for server in servers}
    for turn in range(args.turns):
        for server in servers:
            with paused([other for other in servers if other is not server]):
                made = await rate(server, request, args.clients, args.answers)
            found[server.kind.name].append(made)
            print(f"turn {turn + 1}: {server.kind.name} {made:.3g}", file=sys.stderr, flush=True)
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    """The medians, and those of the ratios of the last server to each, as Markdown."""
    last = list(found.values())[-1]
    rows: list[list[Cell]] = []
    for name, rates in found.items():
        ratios = [ours / its for ours, its in zip(last, rates, strict=True)]
        by_turn = "" if rates is last else ", ".join(f"{ratio:.2f}" for ratio in ratios)
        median = None if rates is last else statistics.median(ratios)
        rows.append([name, statistics.median(rates), median, by_turn])
    return markdown(["server", "images/s of processor time", "the last / it", "by turn"], rows)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.saturation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--servers", nargs="+", default=SERVERS, metavar="SERVER@PRECISION",
        help="ours, several, lock or litserve-BATCH (%(default)s)")  # fmt: skip
    add("--checkpoint", default="models/mnist", help="folder of the model (%(default)s)")
    add("--steps", type=int, default=50, help="steps of an image, DDIM (%(default)s)")
    add("--clients", type=int, default=16, help="clients at once (%(default)s)")
    add("--answers", type=int, default=32, help="answers of a turn, at least (%(default)s)")
    add("--turns", type=int, default=3, help="turns of each server (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    try:
        kinds = [kind(text, args.checkpoint) for text in args.servers]
    except ValueError as error:
        print(f"--servers: {error}", file=sys.stderr)
        return 2
    request = Request("/sample", {"n": 1, "sampler": "ddim", "steps": args.steps, "labels": 3})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(running(each, folder / each.name)) for each in kinds]
        for server in servers:
            if server.kind.is_ours:
                wait_for_models(server)
        found = uvloop.run(in_turn(servers, request, args))
    print(f"{json.dumps(machine('cpu'))}\n\n{table(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
