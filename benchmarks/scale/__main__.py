"""1 to 1,000 engines in simulated time: what a group of machines does, and what breaks first.

    pip install -e '.[benchmarks]'
    python -m benchmarks.scale --sizes 1 10 100 --out scale.json --plots scale   # 10 minutes
    python -m benchmarks.scale --from scale.json --plots scale                   # measures nothing

The server's own scheduler, one for each engine, and its own pool in front of them run in simulated
time: a step takes what was measured on a machine (`--machines`). Only what is after the pool is
simulated: HTTP and pictures cost nothing. Requests are heavy-tailed, of many clients, some of which
ask for much more than others. The same seed gives the same results, but for `router` and `http`,
which take processor time: what a request costs the pool, and a picture the API process.
"""

import argparse
import gc
import itertools
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.machine import processor
from benchmarks.scale import experiments, router
from benchmarks.scale.curves import MACHINES, Machine, machine
from benchmarks.scale.experiments import Row, Trial
from benchmarks.scale.report import plots, tables
from benchmarks.tables import finite

LOADS = 0.5, 0.7, 0.9
DAY_SHARE, SWING = 1.0, 0.5
"""Of a day: the mean load, and how much more of it comes in the rush hour."""
LIFE = 60.0
"""Seconds that an engine lives on a day, on average: far less than any does."""
SPLIT_ENGINES = 8
SPLIT_SHARES = 0.1, 0.3, 0.5, 0.7, 0.9
GARBAGE = 200_000
"""Objects after which Python looks for those in circles: a thousand engines have millions."""
JOBS = 1, 10
"""In flight for each engine, when the pool is timed."""


Trials = Callable[[argparse.Namespace, Sequence[Machine]], Iterable[Row]]
"""One thing that is tried. Days, fairness and splitting are tried with the first machine."""


def _trial(args: argparse.Namespace, machine: Machine, engines: int) -> Trial:
    """Engines that are asked for fewer steps each where there are more, unless --seconds says for
    how long."""
    step = machine.curve.seconds(machine.curve.max_rows)
    seconds = args.seconds or args.steps * step / math.sqrt(engines)
    return Trial(machine, engines, seconds, args.seed)


def _loads(args: argparse.Namespace, machines: Sequence[Machine]) -> Iterable[Row]:
    for of, size in itertools.product(machines, args.sizes):
        yield from experiments.loads(_trial(args, of, size), args.loads)


def _days(args: argparse.Namespace, machines: Sequence[Machine]) -> Iterable[Row]:
    for size in args.sizes:
        trial = _trial(args, machines[0], size)
        yield from experiments.day(trial, DAY_SHARE, SWING, LIFE)


def _fairness(args: argparse.Namespace, machines: Sequence[Machine]) -> Iterable[Row]:
    return (experiments.fairness(_trial(args, machines[0], size)) for size in args.sizes)


def _splitting(args: argparse.Namespace, machines: Sequence[Machine]) -> Iterable[Row]:
    return experiments.splitting(_trial(args, machines[0], SPLIT_ENGINES), SPLIT_SHARES)


def _router(args: argparse.Namespace, _: Sequence[Machine]) -> Iterable[Row]:
    return (router.router(size, jobs) for size in args.sizes for jobs in JOBS)


def _http(args: argparse.Namespace, _: Sequence[Machine]) -> Iterable[Row]:
    yield router.http(args.answers)


TRIALS: dict[str, Trials] = {
    "loads": _loads, "days": _days, "fairness": _fairness, "splitting": _splitting,
    "router": _router, "http": _http,
}  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--machines", nargs="+", default=list(MACHINES),
        help=f"{' or '.join(MACHINES)}, or files with the answer of GET /model (all)")  # fmt: skip
    add("--sizes", nargs="+", type=int, default=[1, 10, 100, 1000],
        help="numbers of engines (%(default)s)")  # fmt: skip
    add("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS),
        help="what is tried (all)")  # fmt: skip
    add("--loads", nargs="+", type=float, default=LOADS,
        help="loads that are tried, as parts of the capacity (%(default)s)")  # fmt: skip
    add("--steps", type=int, default=27_000,
        help="full steps that one engine is asked for, at most; N engines are each asked for "
        "1/sqrt(N) as many (%(default)s)")  # fmt: skip
    add("--seconds", type=float, help="simulated time, instead of --steps")
    add("--seed", type=int, default=0, help="seed of all that is random (%(default)s)")
    add(
        "--answers",
        type=int,
        default=5000,
        help="answers of which `http` is the mean (%(default)s)",
    )
    add("--out", type=Path, help="write what was found to this JSON file")
    add("--plots", type=Path, metavar="FOLDER", help="draw the plots into this folder")
    add("--from", dest="sources", nargs="+", type=Path, metavar="JSON",
        help="measure nothing; read these files")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    logging.getLogger("ddpm").setLevel(logging.CRITICAL)  # engines are to die
    gc.set_threshold(GARBAGE)
    if args.sources:
        read = [json.loads(source.read_text()) for source in args.sources]
        tried = {name: [row for one in read for row in one[name]] for name in TRIALS}
        found = {**read[0], **tried}
    else:
        try:
            machines = [machine(name) for name in args.machines]
        except ValueError as error:
            print(f"--machines: {error}", file=sys.stderr)
            return 2
        sources = {one.name: one.source for one in machines}
        about = {"cpu": processor(), "machines": sources, "seed": args.seed, "steps": args.steps}
        tried = {
            name: list(trials(args, machines)) if name in args.only else []
            for name, trials in tqdm(TRIALS.items(), disable=None)
        }
        found = finite({**about, **tried})
    if args.out:
        args.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if args.plots:
        plots(found, args.plots)
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
