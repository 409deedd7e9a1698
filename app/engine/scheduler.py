"""Who advances at the next step. Plain data and arithmetic: no torch, clock, thread or loop.

The unit is a chain, one image's reverse process. At every step the scheduler fills the batch anew,
in two levels.

Between clients, fair shares: the next row goes to the client that has been given the fewest, of
those with something to run. A client that comes, or comes back, starts level with the one that has
been given the fewest so far: nobody saves up rows by being away.

Between one client's jobs, highest response ratio next, with preemption: a job's ratio is

    1 + delay / solo

with `solo` the engine steps that it still needs alone on the machine and `delay` those that it has
lost so far to sharing. Every job is thus slowed by about the same factor: a short one overtakes a
long one at once, and the long one's ratio grows until its turn comes, so none starves.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Chain:
    """One image in the making: sample `index` of its job, `position` steps done."""

    job: "Job"
    index: int
    label: int | None
    position: int = 0


@dataclass(eq=False)
class Job:
    """What a client asked for: chains of `num_steps` steps, each taking `rows` network rows."""

    id: str
    num_steps: int
    rows: int = 1
    client: str = ""
    is_alone: bool = False  # shares its batches with no other job
    is_paused: bool = False
    chains: list[Chain] = field(default_factory=list)  # the unfinished ones, in index order
    delay: float = 0.0  # steps
    done_steps: int = 0  # over all unfinished chains

    def add_chains(self, indices: Sequence[int], labels: Sequence[int] | None) -> None:
        """Give it a chain for each index."""
        for i, index in enumerate(indices):
            self.chains.append(Chain(self, index, None if labels is None else labels[i]))

    def width(self, max_rows: int) -> int:
        """The chains that it could advance at once, were it alone."""
        return min(len(self.chains), max_rows // self.rows)

    def solo_steps(self, max_rows: int) -> float:
        """The engine steps that it still needs, were it alone."""
        left = len(self.chains) * self.num_steps - self.done_steps
        return left / self.width(max_rows)

    def response_ratio(self, max_rows: int) -> float:
        """1 + delay / solo."""
        return 1 + self.delay / self.solo_steps(max_rows)


class Scheduler:
    """Chooses batches of at most `max_rows` network rows."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.jobs: dict[str, Job] = {}
        self.preemptions = 0  # chains that had begun and were left out of a batch
        self._given: dict[str, int] = {}  # rows, to each client that had something to run
        self._running: list[Chain] = []  # in the last batch, and unfinished

    def __repr__(self) -> str:
        jobs = ", ".join(f"{job.id}: {len(job.chains)}" for job in self.jobs.values())
        return f"<Scheduler [{jobs}]>"

    @property
    def is_idle(self) -> bool:
        """Is there nothing to advance, for now?"""
        return all(job.is_paused for job in self.jobs.values())

    def add(self, job: Job) -> None:
        """Admit a job with at least one chain. Raises ValueError for one that can never run."""
        if job.rows > self.max_rows:
            raise ValueError(f"a chain needs {job.rows} rows, the batch has {self.max_rows}")
        self.jobs[job.id] = job

    def cancel(self, job_id: str) -> Job | None:
        """Remove a job; None when it is not (or no longer) here."""
        job = self.jobs.pop(job_id, None)
        if job is not None:
            self._running = [chain for chain in self._running if chain.job is not job]
        return job

    def pause(self, job_id: str, *, paused: bool) -> None:
        """Leave a job out of every batch until it is no longer paused."""
        if job_id in self.jobs:
            self.jobs[job_id].is_paused = paused

    def limit(self, max_rows: int) -> list[Job]:
        """Fewer rows from now on; the jobs that can no longer run are still to be cancelled."""
        self.max_rows = max_rows
        return [job for job in self.jobs.values() if job.rows > max_rows]

    def schedule(self) -> list[Chain]:
        """The next batch, and every job's delay brought up to date."""
        runnable = [job for job in self.jobs.values() if not job.is_paused]
        batch = self._fill(self._by_client(runnable))
        taken = dict.fromkeys(runnable, 0)
        for chain in batch:
            taken[chain.job] += 1
            self._given[chain.job.client] += chain.job.rows
        for job, chosen in taken.items():
            job.delay += 1 - chosen / job.width(self.max_rows)
        kept = set(batch)
        self.preemptions += sum(chain not in kept for chain in self._running)
        self._running = batch
        return batch

    def advance(self, batch: Sequence[Chain]) -> list[Chain]:
        """Count one step of each chain; the finished ones leave, and so do jobs without others."""
        finished = []
        for chain in batch:
            job = chain.job
            chain.position += 1
            job.done_steps += 1
            if chain.position == job.num_steps:
                finished.append(chain)
                job.chains.remove(chain)
                job.done_steps -= job.num_steps
                if not job.chains:
                    del self.jobs[job.id]
        self._running = [chain for chain in batch if chain.position < chain.job.num_steps]
        return finished

    def _by_client(self, runnable: Sequence[Job]) -> dict[str, list[Job]]:
        """Each client's jobs, the one whose turn it is first; those who come start level."""
        clients: dict[str, list[Job]] = {}
        for job in runnable:
            clients.setdefault(job.client, []).append(job)
        level = min((self._given[c] for c in clients if c in self._given), default=0)
        self._given = {client: self._given.get(client, level) for client in clients}
        for jobs in clients.values():
            jobs.sort(key=self._turn)
        return clients

    def _turn(self, job: Job) -> tuple[float, float]:
        return -job.response_ratio(self.max_rows), job.solo_steps(self.max_rows)

    def _fill(self, clients: dict[str, list[Job]]) -> list[Chain]:
        """Row by row to the client with the fewest; a job that is alone comes first or waits."""
        heap = [(self._given[client], i, client) for i, client in enumerate(clients)]
        heapq.heapify(heap)
        offers = {client: _chains(jobs) for client, jobs in clients.items()}
        batch: list[Chain] = []
        free = self.max_rows
        while heap and free:
            given, i, client = heapq.heappop(heap)
            chain = next((c for c in offers[client] if self._fits(c, batch, free)), None)
            if chain is None:
                continue
            batch.append(chain)
            free -= chain.job.rows
            heapq.heappush(heap, (given + chain.job.rows, i, client))
        return batch

    @staticmethod
    def _fits(chain: Chain, batch: Sequence[Chain], free: int) -> bool:
        job = chain.job
        if batch and (job.is_alone or batch[0].job.is_alone) and batch[0].job is not job:
            return False
        return job.rows <= free


def _chains(jobs: Sequence[Job]) -> Iterator[Chain]:
    for job in jobs:
        yield from job.chains
