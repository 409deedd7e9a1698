"""Sampling, measured without a server: our engine and runtimes, diffusers' pipelines, lucidrains.

    pip install -c constraints.txt -e '.[openvino,benchmarks]'
    python -m benchmarks.sampling --out sampling.json --plot sampling.svg

All make images with the same network, weights, machine and precision. For each batch size they take
turns in rounds, so that other work on the machine slows all of them; ratios are of the same round.
A turn is a whole chain, from noise to images in the CPU's memory, of as many steps (2 to 50) as
take about --seconds. What a step takes is the turn's time over its steps. GFLOP/s are those of the
network (PyTorch's count of its convolutions, linear layers and attention) at so many image-steps a
second; the machine's peak is the fastest product of large matrices, or convolution, in the same
precision, tried again before each batch size.

    python -m benchmarks.sampling --from sampling.json --plot sampling.svg   # the tables again

--from takes several files, too, such as one for each network.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from benchmarks.contenders import CONTENDERS, Setting
from benchmarks.machine import CLOCKS, Clock, machine, matrix_peak
from benchmarks.networks import NETWORKS, Network
from benchmarks.peers.loops import Sample
from benchmarks.sampling_report import merged, plot, tables
from diffusion.config import Precision
from diffusion.cores import available_cores

SIZES = {"cpu": [1, 2, 4, 8, 16, 32], "cuda": [1, 4, 16, 64, 256, 512, 1024]}
STEPS = 2, 50
"""Of a turn's chain."""
QUICK = {
    "networks": ["tiny"], "sizes": [1, 2], "rounds": 2, "seconds": 0.05,
    "contenders": [name for name in CONTENDERS if "compiled" not in name],
}  # fmt: skip
"""What --quick puts in place of the defaults: to try the command, without waiting for compilers."""


@dataclass(frozen=True)
class Cell:
    """What one contender did with one network, precision and batch size: seconds a step of the
    whole batch, by round; or why nothing was measured."""

    network: str
    precision: Precision
    contender: str
    size: int
    step_seconds: list[float] = field(default_factory=list)
    steps: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    networks: list[str]
    precisions: list[Precision]
    contenders: list[str]
    sizes: list[int]
    rounds: int
    seconds: float
    device: str
    threads: int
    clock: str


def measure(plan: Plan, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Everything in the plan: what the JSON file has. `keep` is given what there is so far."""
    networks: dict[str, Any] = {}
    cells: list[dict[str, Any]] = []
    found = {
        "machine": machine(plan.device), "plan": asdict(plan), "networks": networks, "cells": cells
    }  # fmt: skip
    total = len(plan.networks) * len(plan.precisions) * len(plan.sizes)
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=total, unit="batch size", mininterval=0) as bar,
    ):
        for name in plan.networks:
            network = NETWORKS[name](Path(folder) / name)
            peaks: dict[str, float] = {}
            networks[name] = {
                "parameters": network.parameters, "flops": network.flops, "peaks": peaks
            }  # fmt: skip
            for precision in plan.precisions:
                for peak, measured in measure_network(network, precision, plan):
                    cells += map(asdict, measured)
                    peaks[precision] = max(peak, peaks.get(precision, 0.0))
                    keep(found)
                    bar.update()
    return found


def measure_network(
    network: Network, precision: Precision, plan: Plan
) -> Iterator[tuple[float, list[Cell]]]:
    """For each batch size, the machine's peak and every contender."""
    device, clock = torch.device(plan.device), CLOCKS[plan.clock]
    setting = Setting(network, precision, device, plan.threads, max(plan.sizes))
    with contextlib.ExitStack() as stack:
        ready: dict[str, Sample] = {}
        errors: dict[str, str] = {}
        for name in plan.contenders:
            try:
                ready[name] = CONTENDERS[name].make(setting, stack)
            except (ImportError, RuntimeError) as error:  # not installed, or cannot be had here
                errors[name] = reason(error)
        for size in plan.sizes:
            peak = matrix_peak(device, precision, seconds=plan.seconds, clock=clock)
            steps, failed = calibrate(ready, size, plan.seconds, clock)
            able = {name: ready[name] for name in steps}
            taken = alternate(able, size, steps, plan.rounds, clock)
            reasons = {**errors, **failed}
            cells = [
                Cell(
                    network.name, precision, name, size, taken.get(name, []), steps.get(name, 0),
                    reasons.get(name),
                )
                for name in plan.contenders
            ]  # fmt: skip
            yield peak, cells


def calibrate(
    ready: Mapping[str, Sample], size: int, seconds: float, clock: Clock
) -> tuple[dict[str, int], dict[str, str]]:
    """Warm up: the steps of each contender's turns at a batch size; and why others cannot run."""
    steps, failed = {}, {}
    least, most = STEPS
    for name, sample in ready.items():
        try:
            sample(size, least)  # compiles, and allocates
            once = turn(sample, size, least, clock)
        except RuntimeError as error:  # out of memory among them
            failed[name] = reason(error)
            continue
        steps[name] = max(least, min(most, round(seconds / once)))
    return steps, failed


def alternate(
    ready: Mapping[str, Sample], size: int, steps: Mapping[str, int], rounds: int, clock: Clock
) -> dict[str, list[float]]:
    """Seconds of a step, round by round, in each of which every contender has one turn."""
    taken: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, sample in ready.items():
            taken[name].append(turn(sample, size, steps[name], clock))
    return taken


def reason(error: Exception) -> str:
    """What it says, on one line; diffusers has the cause on a second one."""
    return textwrap.shorten(str(error), 300) or type(error).__name__


def turn(sample: Sample, size: int, steps: int, clock: Clock = time.perf_counter) -> float:
    """Seconds of a step, in a chain of so many."""
    started = clock()
    sample(size, steps)
    return (clock() - started) / steps


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--networks", nargs="+", choices=list(NETWORKS), default=["mnist", "cifar10", "paper"],
        help="networks (%(default)s)")  # fmt: skip
    add("--precisions", nargs="+", choices=get_args(Precision), default=["float32"],
        help="precisions, one after the other (%(default)s)")  # fmt: skip
    add("--contenders", nargs="+", choices=list(CONTENDERS), help="who is measured (all)")
    add("--sizes", nargs="+", type=int, help=f"batch sizes ({SIZES['cpu']}; GPU {SIZES['cuda']})")
    add("--rounds", type=int, default=5, help="turns of each contender (%(default)s)")
    add("--seconds", type=float, default=1.0, help="length of a turn, about (%(default)s)")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where (%(default)s)")
    add("--threads", type=int, help="threads of each contender (as many as processors)")
    add("--clock", choices=list(CLOCKS), default="wall",
        help="what seconds are: those on the wall, or the processor's, for one thread on a machine "
        "that does other work, too (%(default)s)")  # fmt: skip
    add("--quick", action="store_true", help="a tiny network for a moment, to try the command")
    add("--out", type=Path, help="write what was measured to this JSON file")
    add("--plot", type=Path, help="write the plot to this file, .svg or .png")
    add("--from", dest="sources", nargs="+", type=Path, metavar="JSON",
        help="measure nothing; read these files")  # fmt: skip
    args = parser.parse_args(argv)
    if args.quick:
        parser.set_defaults(**QUICK)
        args = parser.parse_args(argv)
    return args


def plan_of(args: argparse.Namespace) -> Plan:
    """What the arguments ask for."""
    asked = args.contenders or CONTENDERS
    here = [name for name in asked if args.device in CONTENDERS[name].devices]
    return Plan(
        args.networks, args.precisions, here, args.sizes or SIZES[args.device],
        args.rounds, args.seconds, args.device,
        args.threads or available_cores(), args.clock,
    )  # fmt: skip


def write(found: dict[str, Any], path: Path | None) -> None:
    """Write the JSON file, if there is to be one."""
    if path:
        path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    if args.sources:
        found = merged([json.loads(path.read_text()) for path in args.sources])
    else:
        plan = plan_of(args)
        torch.set_num_threads(plan.threads)
        found = measure(plan, lambda found: write(found, args.out))
    write(found, args.out)
    if args.plot:
        plot(found, args.plot)
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
