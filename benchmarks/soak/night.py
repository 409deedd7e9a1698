"""One long night: an undisturbed server that says what is right, and another with everything at
once."""

import asyncio
import contextlib
import dataclasses
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Kind
from benchmarks.soak.asking import Asker
from benchmarks.soak.clients import SlowReaders, client
from benchmarks.soak.database import Database, database, rows
from benchmarks.soak.disk import Disk, disk
from benchmarks.soak.jobs import JobClient, Jobs
from benchmarks.soak.known import JobCase, Known, check_together, learn
from benchmarks.soak.plan import Plan
from benchmarks.soak.report import End, Report
from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor
from benchmarks.soak.troubles import Troubles
from benchmarks.soak.watch import Rest, Watch, files_in
from benchmarks.soak.webhooks import SECRET, Receiver

KEYS = tuple(f"key-{number}-of-the-soak" for number in range(3))
"""The API keys; the clients share them."""
DISK_BYTES = 256 << 20
CLEAN_SECONDS = 120.0
"""What the server may take to remove what has been deleted, or has expired."""
TRACEBACK = "Traceback (most recent call last)"
LOG = "soak.log"


@dataclass(frozen=True)
class Places:
    """What a night needs of the machine: `folder` is for logs and the undisturbed server's jobs."""

    folder: Path
    disk: Disk
    database: Database

    @property
    def results(self) -> Path:
        """Where the results of jobs are."""
        return self.disk.folder / "results"

    @property
    def names(self) -> tuple[str, str]:
        """Of the database and of the disk, for the report."""
        kind = self.database.url.partition("://")[0]
        return kind, "a full disk" if self.disk.is_own else "a read-only folder"


@contextlib.contextmanager
def places(folder: Path, jobs_url: str | None) -> Iterator[Places]:
    """In an empty folder; `jobs_url` as for `database`."""
    (folder / "disk").mkdir()
    with disk(folder / "disk", DISK_BYTES) as full, database(jobs_url, full.folder) as kept:
        yield Places(folder, full, kept)


async def night(kind: Kind, plan: Plan, where: Places, save: Callable[[Report], None]) -> Report:
    """Run it, and give `save` a report of what there is every minute. Raises what makes it
    impossible: RuntimeError, Lost, Wrong, TimeoutError."""
    known = await _undisturbed(kind, plan, where)
    seen = Seen()
    variables = {
        "DDPM_JOBS_FOLDER": str(where.disk.folder),
        "DDPM_JOBS_URL": where.database.url,
        "DDPM_JOBS_EXPIRY_SECONDS": str(plan.expiry),
        "DDPM_KEYS_EXPIRY_SECONDS": str(plan.expiry),
        "DDPM_API_KEYS": ",".join(KEYS),
        "DDPM_WEBHOOK_SECRET": SECRET,
        "DDPM_WEBHOOK_PRIVATE": "true",
    }
    kind = dataclasses.replace(kind, variables={**kind.variables, **variables})
    log = where.folder / LOG
    async with contextlib.AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(seen))
        server = await stack.enter_async_context(Supervisor(kind, log, seen))
        askers = [
            await stack.enter_async_context(Asker(server, seen, key, plan.max_pause))
            for key in KEYS
        ]
        watch = Watch(server)
        before = await _warm_up(askers[0], known, plan, watch)
        seen.counts.clear()

        def report() -> Report:
            return Report.of(plan, seen, watch, where.names)

        troubles = Troubles(plan, server, where.disk, where.database, watch)
        everything = Everything(plan, known, askers, receiver, troubles)
        async with asyncio.TaskGroup() as together:
            watching = together.create_task(watch.run(plan.seconds, seen, lambda: save(report())))
            await everything.run()
            watching.cancel()
        print("waiting until nothing is left over", file=sys.stderr)
        end = await _end(watch, before, where)
    seen.count("lines of tracebacks", log.read_text().count(TRACEBACK))
    return dataclasses.replace(report(), end=end)


@dataclass(frozen=True)
class Everything:
    """All that happens at once."""

    plan: Plan
    known: Known
    askers: list[Asker]
    receiver: Receiver
    troubles: Troubles

    async def run(self) -> None:
        """Until the planned time is over, and everybody has had an answer."""
        plan, askers = self.plan, self.askers
        begun = time.monotonic()
        over = begun + plan.seconds
        async with asyncio.TaskGroup() as together:
            start = together.create_task
            start(self.troubles.run(begun + plan.troubled))
            for number in range(plan.clients):
                asker = askers[number % len(askers)]
                start(client(asker, self.known, plan, self._source("client", number), over))
            for number in range(plan.job_clients):
                asker, stranger = askers[number % len(askers)], askers[(number + 1) % len(askers)]
                jobs = JobClient(asker, stranger, self.known, self.receiver, plan.webhooks)
                start(jobs.run(self._source("jobs", number), over))
            if plan.readers:
                readers = SlowReaders(askers[-1], self.known.big, plan)
                start(readers.run(self._source("readers", 0), over))

    def _source(self, name: str, number: int) -> random.Random:
        return random.Random(f"{self.plan.seed} {name} {number}")


async def _undisturbed(kind: Kind, plan: Plan, where: Places) -> Known:
    """What a server says that nothing disturbs. Raises RuntimeError when it is not well."""
    jobs = {"DDPM_JOBS_FOLDER": str(where.folder / "undisturbed")}
    quiet = dataclasses.replace(kind, variables={**kind.variables, **jobs})
    seen = Seen()
    async with Supervisor(quiet, where.folder / "undisturbed.log", seen) as server:
        async with Asker(server, seen, KEYS[0], plan.max_pause) as asker:
            known = await learn(asker, plan)
    if seen.problems:
        raise RuntimeError(f"the undisturbed server: {seen.problems}")
    return known


async def _warm_up(asker: Asker, known: Known, plan: Plan, watch: Watch) -> Rest:
    """Everything once, with many at a time; what is held then, at rest. It starts the threads and
    connections that the server keeps, so that they are not taken for a leak."""
    await check_together(asker, known, plan.clients)
    async with asyncio.TaskGroup() as together:
        for case in known.jobs:
            together.create_task(_job_once(Jobs(asker), case))
    return await watch.at_rest()


async def _job_once(jobs: Jobs, case: JobCase) -> None:
    job_id = await jobs.submit(case)
    await jobs.finished(job_id, by_events=False)
    for media_type in case.expected:
        case.check(media_type, await jobs.fetch(job_id, media_type))
    await jobs.delete(job_id)


async def _end(watch: Watch, before: Rest, where: Places) -> End:
    """What is left over, after the time that the server may take to clean up."""
    deadline = time.monotonic() + CLEAN_SECONDS
    while True:
        left = await asyncio.to_thread(rows, where.database.url)
        files = files_in(where.results)
        if not (any(left.values()) or files) or time.monotonic() > deadline:
            return End(before, await watch.at_rest(before), left, files)
        await asyncio.sleep(1.0)
