"""What does Ray cost between the API process and its engines?

    python -m benchmarks.cluster

Starts a server without Ray, one with a replica of as many threads, and one with a replica for each
thread, in turns and several times, and asks each for the same: small requests one after another, a
stream of all frames of one image, and many images at once. Beside seconds it tells processor
seconds of all processes, which say the same on a machine that has other work, too. Needs the extra
`cluster`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.machine import processor
from tests.app.server import REAL, Server

SMALL = {"n": 1, "seed": 1, "sampler": "ddim", "steps": 2}
FRAMES = 101
STREAM = {"n": 1, "seed": 1, "sampler": "ddim", "steps": FRAMES - 1, "frames": FRAMES}
IMAGES, STEPS = 128, 20
MANY = {"n": IMAGES, "seed": 2, "sampler": "ddim", "steps": STEPS}
SETTLE_SECONDS = 3.0
"""From the first engine's readiness until all are ready, and Ray has started what it starts."""
IDLE_SECONDS = 3.0
ALONE = "without Ray"


@dataclass(frozen=True)
class Cost:
    """Seconds of something as a client sees it; processor seconds of engines, and of all others of
    the server's processes, Ray's among them."""

    wall: float
    engines: float
    others: float


@dataclass
class Costs:
    """What was measured of a server in all rounds; `idle` is of seconds without a request."""

    small: list[Cost] = field(default_factory=list)
    stream: list[Cost] = field(default_factory=list)
    many: list[Cost] = field(default_factory=list)
    idle: list[Cost] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Steps a second with many images at once, when it was fastest."""
        return IMAGES * STEPS / min(cost.wall for cost in self.many)

    @property
    def step_seconds(self) -> tuple[float, float]:
        """Processor seconds of a step with many images at once: of engines, and of all others."""
        engines, others = processor_seconds_of(self.many)
        return engines / (IMAGES * STEPS), others / (IMAGES * STEPS)


def processor_seconds_of(costs: Sequence[Cost]) -> tuple[float, float]:
    """Processor seconds of engines and of others, in the middle."""
    return median(cost.engines for cost in costs), median(cost.others for cost in costs)


def processor_seconds(server: Server) -> tuple[float, float]:
    """The processor time of a server's engines until now, and of its other processes."""
    engines = others = 0.0
    process = psutil.Process(server.process.pid)
    for each in [process, *process.children(recursive=True)]:
        try:
            seconds, command = sum(each.cpu_times()[:2]), each.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if REAL[0] in command:
            engines += seconds
        else:
            others += seconds
    return engines, others


def cost(server: Server, call: Callable[[], object]) -> Cost:
    """What a call costs."""
    engines, others = processor_seconds(server)
    started = time.perf_counter()
    call()
    wall = time.perf_counter() - started
    engines_then, others_then = processor_seconds(server)
    return Cost(wall, engines_then - engines, others_then - others)


def ask(server: Server, path: str, body: dict[str, Any], accept: str) -> None:
    """One request. Raises httpx.HTTPStatusError."""
    server.post(path, body, accept).raise_for_status()


def measure(flags: Sequence[str], repeat: int, costs: Costs) -> None:
    """One round of one server."""
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "server.log", *flags, engine=REAL) as server:
            time.sleep(SETTLE_SECONDS)
            small = partial(ask, server, "/sample", SMALL, "image/png")
            stream = partial(ask, server, "/denoise-trajectory", STREAM, "text/event-stream")
            many = partial(ask, server, "/sample", MANY, "image/png")
            for call in (many, small, stream):  # for the first time
                call()
            costs.idle.append(cost(server, lambda: time.sleep(IDLE_SECONDS)))
            costs.small += [cost(server, small) for _ in range(repeat)]
            costs.stream += [cost(server, stream) for _ in range(max(1, repeat // 4))]
            costs.many += [cost(server, many) for _ in range(2)]


def table(found: dict[str, Costs]) -> str:
    """The figures as a table in Markdown, in milliseconds; processor time in brackets."""
    lines = [
        "| | a request of 2 steps | a frame of a stream | all images at once "
        "| processor ms a step: engines | all processes | idle |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    alone = found[ALONE]
    for name, costs in found.items():
        engines, others = costs.step_seconds
        engines_alone, others_alone = alone.step_seconds
        whole, whole_alone = engines + others, engines_alone + others_alone
        cells = [
            name,
            f"{median(c.wall for c in costs.small) * 1e3:.0f} ms ({_others(costs.small):.0f})",
            f"{median(c.wall for c in costs.stream) / FRAMES * 1e3:.1f} ms "
            f"({_others(costs.stream) / FRAMES:.1f})",
            f"{costs.rate:.0f} steps/s, {costs.rate / alone.rate:.0%}",
            f"{engines * 1e3:.2f}, {engines_alone / engines:.0%}",
            f"{whole * 1e3:.2f}, {whole_alone / whole:.0%}",
            f"{median(c.others for c in costs.idle) / IDLE_SECONDS:.0%} of a core",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _others(costs: Sequence[Cost]) -> float:
    """Milliseconds of processors for all but the engines."""
    return processor_seconds_of(costs)[1] * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all servers (%(default)s)")
    parser.add_argument("--repeat", type=int, default=20, help="small requests (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of all engines (%(default)s)")
    parser.add_argument("--checkpoint", default="mnist", help="the model (%(default)s)")
    args = parser.parse_args()
    common = [f"--checkpoint={args.checkpoint}", "--precision=float32"]
    whole = f"--threads={args.threads}"
    contenders = {
        ALONE: [whole],
        "one replica": [whole, "--cluster=auto"],
        "a replica for each thread": [
            "--threads=1", "--cluster=auto", f"--cluster-engines={args.threads}"
        ],
    }  # fmt: skip
    found = {name: Costs() for name in contenders}
    for _ in range(args.rounds):
        for name, flags in contenders.items():
            measure([*common, *flags], args.repeat, found[name])
    print(f"{processor()}, {args.checkpoint}, {args.threads} threads, {args.rounds} rounds\n")
    print(table(found))


if __name__ == "__main__":
    main()
