"""Serving, measured: ours, FastAPI with a lock around diffusers, LitServe with dynamic batching.

    pip install -e '.[openvino,benchmarks]'
    python -m benchmarks.serving --out serving.json

The servers run on the same weights and machine, with the threads that they choose by themselves,
and get the same requests. First all are up and take turns, in which the others are stopped:

- saturation: clients that ask for one image of 50 DDIM steps, again and again. For ours also how
  many steps a second the engine takes, and how many a bare loop does: the same runtime and DDIM's
  update, with nothing else; the same for images of all of the model's steps, which leave clients
  and HTTP next to nothing to do.

Then one server after the other has the machine to itself:

- beside: one image at a time, alone, and then while 64-image requests follow one another.
- open loop: requests arrive at random (Poisson) whether or not the ones before are answered, at
  multiples of what the first server can do. Latency counts from the moment that a request was to be
  sent; one without an answer is infinitely late.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import httpx
import uvloop

from benchmarks.bare_loop import BareLoop
from benchmarks.engine_rate import EngineRate, difference, read_at_change
from benchmarks.load import Client, ClosedLoop, Request, poisson_schedule
from benchmarks.machine import machine
from benchmarks.servers import Kind, Memory, Running, kind_of, paused, running
from benchmarks.serving_report import Latencies, OpenLoop, Report, Saturation, tables
from benchmarks.tables import finite
from diffusion.config import Precision
from diffusion.cores import available_cores

DDIM = {"sampler": "ddim", "steps": 50, "labels": 3}
SMALL = Request("/sample", {**DDIM, "n": 1})
LARGE = Request("/sample", {**DDIM, "n": 16})
HUGE = Request("/sample", {**DDIM, "n": 64})
STREAM = Request("/denoise-trajectory", {**DDIM, "n": 1, "frames": 11}, "text/event-stream")
REQUESTS = {"small": SMALL, "large": LARGE, "trajectory": STREAM}
MIXES = {
    "small": {"small": 1.0},
    "small and large": {"small": 7.0, "large": 1.0},
    "trajectories": {"trajectory": 1.0},
}
"""The kinds of request in a mix, by weight."""
ROUNDS = 2
"""Answers for each client, at least, in a turn."""
SETTLE_ATTEMPTS = 10
SOON = 0.1
"""Seconds before a reading is due that it is asked for: asking takes the engine's processors, and
the engine tells its counts once a second."""
OUR_FLAGS = ("device", "runtime", "max-batch")


@dataclass(frozen=True)
class Plan:
    """What is measured. `capacity` (images a second) is what the rates are multiples of; without
    it, what the first server does at saturation."""

    checkpoint: str
    device: str
    runtime: str
    precision: Precision
    max_batch: int
    turns: int
    seconds: float
    clients: int
    rates: tuple[float, ...]
    mixes: tuple[str, ...]
    timeout: float
    seed: int
    capacity: float | None


async def saturate_in_turn(servers: Sequence[Running], plan: Plan) -> list[Saturation]:
    """Every server for a turn, again and again: a machine that changes changes for all of them."""
    found = [Saturation([], [], {}) for _ in servers]
    bare = {server.url: bare_loop(server, plan) for server in servers if server.kind.is_ours}
    for turn in range(plan.turns):
        for server, saturation in zip(servers, found, strict=True):
            say(server, f"saturation, {plan.clients} clients, turn {turn + 1} of {plan.turns}")
            with paused([other for other in servers if other is not server]):
                loop, engine = await saturate(server, plan, bare.get(server.url))
            saturation.images_per_second.append(loop.images_per_second)
            saturation.answers.extend(loop.answers)
            for steps, rate in engine.items():
                saturation.engine.setdefault(steps, []).append(rate)
    return found


async def measure(server: Running, saturation: Saturation, plan: Plan) -> Report:
    """Everything else that is measured of one server."""
    with Memory(server) as memory:
        async with Client(server.url, plan.timeout) as client:
            say(server, "warm-up")
            await client.closed_loop(SMALL, "small", plan.clients, seconds=1)
            await settle(client)
            say(server, "one image alone, then beside 64-image requests")
            alone, beside = await overtake(client, plan.seconds)
            await settle(client)
            loops = await open_loops(server, client, plan, plan.capacity or saturation.median)
    return Report(
        server.kind.name, saturation, Latencies.of(alone.answers), Latencies.of(beside.answers),
        loops, memory.peak,
    )  # fmt: skip


async def settle(client: Client) -> None:
    """Wait until the server has nothing left to do: until it answers one more small request."""
    for _ in range(SETTLE_ATTEMPTS):
        loop = await client.closed_loop(SMALL, "small", 1, answers=1)
        if loop.answers[0].error is None:
            return
    raise RuntimeError(f"a request on its own fails: {loop.answers[0].error}")


async def saturate(
    server: Running, plan: Plan, bare: BareLoop | None
) -> tuple[ClosedLoop, dict[int, EngineRate]]:
    """All clients asking for a duration, or more where the server is too slow to tell; with a bare
    loop also the engine's rate beside it, by the steps of the images asked for."""
    async with Client(server.url, plan.timeout) as client:
        await client.closed_loop(SMALL, "small", 4, seconds=1)
        before = await asyncio.to_thread(bare.rounds, [bare.largest]) if bare else {}
        over = asyncio.Event()
        load = asyncio.create_task(
            client.closed_loop(
                SMALL, "small", plan.clients,
                seconds=plan.seconds, answers=ROUNDS * plan.clients, over=over,
            )
        )  # fmt: skip
        taken = await steps_taken(server, plan.seconds) if bare else None
        over.set()
        loop = await load
        rates = {}
        if bare and taken:
            between = await asyncio.to_thread(bare.rounds, taken[1])
            rates[SMALL.body["steps"]] = EngineRate.of(*taken, before, between)
            T = httpx.get(f"{server.url}/model").raise_for_status().json()["num_timesteps"]
            say(server, f"the same with images of {T} steps")
            taken = await full_chains(server, client, plan, T)
            after = await asyncio.to_thread(bare.rounds, taken[1])
            rates[T] = EngineRate.of(*taken, between, after)
        await settle(client)
    return loop, rates


async def full_chains(
    server: Running, client: Client, plan: Plan, T: int
) -> tuple[float, dict[int, int]]:
    """The seconds, and the engine's steps, under a load of images of T steps."""
    slow = Request("/sample", {**SMALL.body, "steps": T})
    load = asyncio.create_task(client.closed_loop(slow, "slow", plan.clients, over=asyncio.Event()))
    taken = await steps_taken(server, plan.seconds)
    load.cancel()
    await asyncio.wait([load])
    return taken


async def steps_taken(server: Running, seconds: float) -> tuple[float, dict[int, int]]:
    """The engine's, by batch size, under a load that has just begun; and in how many seconds,
    about as many as asked for."""
    await asyncio.sleep(0.4 * seconds)
    first = await asyncio.to_thread(read_at_change, server.url)
    await asyncio.sleep(seconds - SOON)
    last = await asyncio.to_thread(read_at_change, server.url)
    return last.at - first.at, difference(first, last)


def bare_loop(server: Running, plan: Plan) -> BareLoop:
    """Of our server's batch sizes, on as many threads as its engine has by default."""
    sizes = httpx.get(f"{server.url}/model").raise_for_status().json()["batch_sizes"]
    threads = available_cores()
    return BareLoop(plan.checkpoint, plan.runtime, plan.device, threads, sizes, plan.precision)


async def overtake(
    client: Client, seconds: float, small: Request = SMALL, large: Request = HUGE
) -> tuple[ClosedLoop, ClosedLoop]:
    """One small request at a time: alone for one duration, beside large ones for two."""
    alone = await client.closed_loop(small, "small", 1, seconds=seconds)
    over = asyncio.Event()
    stream = asyncio.create_task(client.closed_loop(large, "large", 1, over=over))
    await asyncio.sleep(0.5)  # the first of them is being made
    beside = await client.closed_loop(small, "small", 1, seconds=2 * seconds)
    over.set()
    await stream
    return alone, beside


async def open_loops(
    server: Running, client: Client, plan: Plan, capacity: float
) -> list[OpenLoop]:
    """Every mix that the server can serve, at every rate."""
    loops = []
    for mix in plan.mixes:
        if "trajectory" in MIXES[mix] and not server.kind.has_trajectories:
            continue
        for rate in plan.rates:
            requests = rate * capacity / mean_images(MIXES[mix])
            arrivals = poisson_schedule(MIXES[mix], requests, plan.seconds, plan.seed)
            say(server, f"{mix}, {rate:g} of capacity: {len(arrivals)} requests")
            answers = await client.open_loop(arrivals, REQUESTS)
            done = [answer for answer in answers if answer.error is None]
            last = max((answer.finished for answer in done), default=math.inf)
            images = sum(answer.images for answer in done)
            loops.append(OpenLoop(mix, rate, images / last, Latencies.of(answers)))
            await settle(client)
    return loops


def mean_images(mix: Mapping[str, float]) -> float:
    """Images of a request of the mix, on average."""
    images = sum(weight * REQUESTS[kind].images for kind, weight in mix.items())
    return images / sum(mix.values())


def say(server: Running, what: str) -> None:
    """Progress."""
    print(f"{server.kind.name}: {what}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def started(kind: Kind) -> Iterator[Running]:
    """A server that is ready."""
    print(f"{kind.name}: starting", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder, running(kind, Path(folder) / "log") as server:
        yield server


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be 1 or more")
    return int(text)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--servers", nargs="+", default=["lock", "litserve-8", "litserve-16", "ours"],
        help="servers to measure, in this order (%(default)s)")  # fmt: skip
    add(
        "--turns", type=positive, default=3, help="turns of each server at saturation (%(default)s)"
    )
    add("--checkpoint", default="models/mnist", help="folder of the model (%(default)s)")
    add(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="device of all servers (%(default)s)",
    )
    add("--runtime", default="auto", help="runtime of our server (%(default)s)")
    add("--precision", choices=get_args(Precision), default="float32",
        help="of all servers; in the peers bfloat16 is autocast (%(default)s)")  # fmt: skip
    add("--max-batch", type=positive, default=16, help="largest batch of our server (%(default)s)")
    add("--duration", type=float, default=10.0, metavar="SECONDS",
        help="length of a turn, and of an open loop (%(default)s)")  # fmt: skip
    add("--clients", type=positive, default=16, help="clients at saturation (%(default)s)")
    add(
        "--rates",
        nargs="+",
        type=float,
        default=[0.5, 2.0],
        metavar="RATE",
        help="request rates of the open loops, as multiples of the capacity (%(default)s)",
    )
    add(
        "--capacity",
        type=float,
        metavar="IMAGES",
        help="capacity in images per second (what the first server makes at saturation)",
    )
    add(
        "--mixes",
        nargs="+",
        choices=list(MIXES),
        default=list(MIXES),
        help="mixes of requests in the open loops (all)",
    )
    add("--timeout", type=float, default=120.0, metavar="SECONDS",
        help="a request that takes longer has failed (%(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the arrivals (%(default)s)")
    add("--out", type=Path, help="write the results to this JSON file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    try:
        flags = [f"--{flag}={getattr(args, flag.replace('-', '_'))}" for flag in OUR_FLAGS]
        kinds = [
            kind_of(name, args.checkpoint, args.device, flags, args.precision)
            for name in args.servers
        ]
    except ValueError as error:
        print(f"--servers: {error}", file=sys.stderr)
        return 2
    plan = Plan(
        args.checkpoint, args.device, args.runtime, args.precision, args.max_batch, args.turns,
        args.duration, args.clients, tuple(args.rates), tuple(args.mixes), args.timeout, args.seed,
        args.capacity,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(started(kind)) for kind in kinds]
        saturations = uvloop.run(saturate_in_turn(servers, plan))
    if plan.capacity is None:
        plan = dataclasses.replace(plan, capacity=saturations[0].median)
    reports: list[Report] = []
    for kind, saturation in zip(kinds, saturations, strict=True):
        with started(kind) as server:
            reports.append(uvloop.run(measure(server, saturation, plan)))
    found = {"machine": machine(args.device), "plan": dataclasses.asdict(plan),
             "reports": [dataclasses.asdict(report) for report in reports]}  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(finite(found), indent=2, allow_nan=False) + "\n")
    print(f"{found['machine']}, {plan.precision}\n")
    print(f"Capacity: {plan.capacity:.3g} images/s.\n\n{tables(reports)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
