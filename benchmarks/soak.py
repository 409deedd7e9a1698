"""A soak test: mixed load, killed engines, clients that leave; every answer is compared by bytes.

    pip install -e '.[openvino,benchmarks]'
    python -m benchmarks.soak --minutes 30 --out soak.json

A fixed pool of requests is answered once by a server that nothing disturbs. Then many clients send
them at random to another server while engine processes are killed with SIGKILL (in the first 60% of
the time) and some clients disconnect before their answer. A 503 is tried again after its
Retry-After. At the end nothing may be lost or wrong, memory should not have grown, and open files
and threads should be back to where they began. The exit status is 1 when an answer was lost or
wrong.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tqdm import tqdm

from benchmarks.load import Request
from benchmarks.resources import Holding, engines
from benchmarks.servers import Kind, Running, ours, running
from benchmarks.soak_report import Plan, Report, Rest, Seen, table
from benchmarks.soak_requests import STREAM, fingerprint, make_pool, parse_events
from benchmarks.tables import finite

PATIENCE_SECONDS = 300.0
"""An answer that takes longer, with its retries, is lost."""
REST_SECONDS = 60.0
"""What the server may take, after the load, to be at rest again."""
NOTICE_SECONDS = 1.0
"""What the server may take to notice that something was closed or killed."""
CALM = 0.4
"""The part of the time, at its end, without kills: a life long enough to show a leak."""
SAMPLE_SECONDS = 2.0
LOG = "soak.log"


@dataclass
class Soak:
    """One server under load."""

    server: Running
    plan: Plan
    pool: list[Request]
    expected: list[str]
    seen: Seen = field(default_factory=Seen)

    async def run(self) -> None:
        """The load, the kills and the sampling, for as long as planned."""
        over = time.monotonic() + self.plan.seconds
        async with new_client(self.server.url) as http:
            calm = over - CALM * self.plan.seconds
            beside = [
                asyncio.create_task(self._kill(http, calm)),
                asyncio.create_task(self._sample()),
            ]
            clients = [self._client(http, number, over) for number in range(self.plan.clients)]
            await asyncio.gather(*clients)
            for task in beside:
                task.cancel()
            for ended in await asyncio.gather(*beside, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise RuntimeError("the soak itself failed") from ended

    async def _client(self, http: httpx.AsyncClient, number: int, over: float) -> None:
        """Ask, and ask again."""
        source = random.Random(f"{self.plan.seed} client {number}")
        while time.monotonic() < over:
            which = source.randrange(len(self.pool))
            patience, leaves = PATIENCE_SECONDS, source.random() < self.plan.disconnects
            if leaves:
                patience = source.uniform(0, self.plan.leave_within)
            try:
                async with asyncio.timeout(patience):
                    await self.check(http, which)
            except TimeoutError:
                if leaves:
                    self.seen.counts["disconnected"] += 1
                else:
                    self._note("lost", which, f"no answer in {patience:g} s")

    async def check(self, http: httpx.AsyncClient, which: int) -> None:
        """One request, tried again for as long as the server says so."""
        while True:
            try:
                answer = await ask(http, self.pool[which])
            except httpx.TransportError as error:
                self._note("lost", which, repr(error))
                return
            if answer.retry_after is not None:
                self.seen.counts["refused"] += 1
                await asyncio.sleep(answer.retry_after)
                continue
            if answer.status != 200:
                self._note("lost", which, f"status {answer.status}: {answer.content[-500:]!r}")
            elif answer.fingerprint != self.expected[which]:
                self._note("wrong", which, "other bytes than those of the undisturbed server")
            else:
                self.seen.counts["right"] += 1
            return

    def _note(self, what: str, which: int, why: str) -> None:
        self.seen.counts[what] += 1
        self.seen.problems.append(f"{what}: {self.pool[which]}: {why}")

    async def _kill(self, http: httpx.AsyncClient, calm: float) -> None:
        """SIGKILL to an engine, again and again until `calm` (time.monotonic), each time after one
        has been ready for a while."""
        source = random.Random(f"{self.plan.seed} kills")
        while time.monotonic() < calm:
            await wait_ready(http)
            await asyncio.sleep(source.uniform(0.5, 1.5) * self.plan.kill_every)
            if found := engines(self.server):
                source.choice(found).kill()
                self.seen.counts["killed"] += 1
                await asyncio.sleep(NOTICE_SECONDS)

    async def _sample(self) -> None:
        """Note what the processes hold, every SAMPLE_SECONDS."""
        with tqdm(total=round(self.plan.seconds), unit="s", desc="soak") as bar:
            while True:
                self.seen.api.append(Holding.of(self.server.process))
                with contextlib.suppress(psutil.Error):
                    self.seen.engine += [Holding.of(engine) for engine in engines(self.server)]
                bar.set_postfix(self.seen.counts)
                await asyncio.sleep(SAMPLE_SECONDS)
                bar.update(SAMPLE_SECONDS)


@dataclass(frozen=True)
class Answer:
    """What the server said; `retry_after` in seconds when that was to come back later."""

    request: Request
    status: int
    content: bytes
    retry_after: float | None

    @property
    def fingerprint(self) -> str:
        """See soak_requests."""
        return fingerprint(self.request.accept, self.content)


async def ask(http: httpx.AsyncClient, request: Request) -> Answer:
    """Send a request and read all of its answer; an `error` event counts as its status. Raises
    httpx.TransportError."""
    headers = {"Accept": request.accept}
    response = await http.post(request.path, json=request.body, headers=headers)
    status, retry_after = response.status_code, response.headers.get("retry-after", "1")
    if status == 200 and request.accept == STREAM:
        name, data = parse_events(response.content)[-1]
        status = data["status"] if name == "error" else status
    later = float(retry_after) if status == 503 else None
    return Answer(request, status, response.content, later)


def new_client(url: str) -> httpx.AsyncClient:
    """A client whose time limits are ours, not httpx's."""
    return httpx.AsyncClient(
        base_url=url, timeout=None, limits=httpx.Limits(max_connections=None)
    )  # fmt: skip


async def wait_ready(http: httpx.AsyncClient) -> None:
    """Until GET /readyz says so."""
    while (await http.get("/readyz")).status_code != 200:
        await asyncio.sleep(0.2)


async def known(server: Running, pool: Sequence[Request], at_once: int) -> list[str]:
    """The fingerprints of the answers, with so many requests at once. Raises RuntimeError for an
    answer other than 200."""
    turns = asyncio.Semaphore(at_once)

    async def one(http: httpx.AsyncClient, request: Request) -> str:
        async with turns:
            answer = await ask(http, request)
        if answer.status != 200:
            raise RuntimeError(f"{request}: status {answer.status}: {answer.content[-500:]!r}")
        return answer.fingerprint

    print(f"{len(pool)} known answers, {at_once} at once", file=sys.stderr)
    async with new_client(server.url) as http:
        return await asyncio.gather(*(one(http, request) for request in pool))


async def at_rest(server: Running, before: Rest | None = None) -> Rest:
    """What is held when the engine is ready and nothing runs; given a Rest, as soon as that is
    reached, or after REST_SECONDS."""
    await asyncio.sleep(NOTICE_SECONDS)
    async with new_client(server.url) as http:
        await wait_ready(http)
    deadline = time.monotonic() + REST_SECONDS
    await asyncio.sleep(NOTICE_SECONDS)  # of this client's leaving, too
    rest = Rest.of(server)
    while before is not None and rest.exceeds(before) and time.monotonic() < deadline:
        await asyncio.sleep(1.0)
        rest = Rest.of(server)
    return rest


def run(kind: Kind, plan: Plan, logs: Path) -> Report:
    """The undisturbed server, then the other."""
    with running(kind, logs / "undisturbed.log") as server:
        model: dict[str, Any] = httpx.get(f"{server.url}/model").json()
        pool = make_pool(model, plan.requests, plan.seed)
        expected = asyncio.run(known(server, pool, at_once=1))
    with running(kind, logs / LOG) as server:
        # Also starts the threads that the server keeps, so that they are not taken for a leak.
        if asyncio.run(known(server, pool, at_once=plan.clients)) != expected:
            raise RuntimeError("two servers that nothing disturbs answer differently")
        before = asyncio.run(at_rest(server))
        soak = Soak(server, plan, pool, expected)
        asyncio.run(soak.run())
        after = asyncio.run(at_rest(server, before))
    return Report.of(plan, soak.seen, before, after)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="length of the soak (%(default)s)")
    add("--clients", type=int, default=8, help="clients at the same time (%(default)s)")
    add("--requests", type=int, default=50, help="number of different requests (%(default)s)")
    add("--kill-every", type=float, default=30.0, metavar="SECONDS",
        help="mean time from an engine's being ready to its kill (%(default)s)")  # fmt: skip
    add("--disconnects", type=float, default=0.15, metavar="FRACTION",
        help="fraction of requests whose client disconnects early (%(default)s)")  # fmt: skip
    add(
        "--leave-within",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="longest time before such a client disconnects (%(default)s)",
    )
    add("--seed", type=int, default=0, help="seed of everything random (%(default)s)")
    add("--checkpoint", default="mnist", help="folder or name of the model (%(default)s)")
    add("--runtime", default="auto", help="runtime of the server (%(default)s)")
    add("--out", type=Path, help="write the results to this JSON file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command in this module's docstring; the exit status."""
    args = parse(argv)
    plan = Plan(
        args.minutes * 60, args.clients, args.requests, args.kill_every, args.disconnects,
        args.leave_within, args.seed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        report = run(ours(args.checkpoint, f"--runtime={args.runtime}"), plan, Path(folder))
        log = (Path(folder) / LOG).read_text().splitlines()
    if args.out:
        found = finite(dataclasses.asdict(report))
        args.out.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    print(table(report))
    if report.is_sound:
        return 0
    warnings = [line for line in log if not line.startswith("INFO")]
    print(*report.problems, "the server's log:", *warnings[-50:], sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
