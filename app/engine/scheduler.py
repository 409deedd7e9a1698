"""Who advances at the next step. Plain data and arithmetic: no torch, clock, thread or loop.

The unit is a chain, one image's reverse process. At every step the batch is filled anew.

Between clients, fair shares of the machine's time: the next row goes to the client that has paid
for the least, of those with something to run. A client that comes, or comes back, starts level with
the one that has paid least so far: nobody saves up time by being away.

Between one client's jobs, the shortest first, by the time that each still needs alone on the
machine. A job that sharing has made take PATIENCE times as long as alone (its slowdown) gives way
no longer: such jobs go before all others, and among themselves by highest response ratio, 1 + delay
/ time still needed, which lets everyone's turn come.

A full batch takes several times as long as one row, so the job that is first in line also decides
how large the batch becomes: jobs that are much longer than it (COMPARABLE) join only as far as they
keep the step from becoming much longer (TOLERANCE) than its own rows make it. Such a step does less
than a full one; the others pay as for rows of a full batch, and the first in line what is left.
When its patience is at an end there is more to do than the machine can, and batches are full: then
what counts is how much gets done.

A machine with several lanes runs as many batches at once, each on its share of the machine, and
each is followed by the next when it is done, whatever the others do. What can run is spread over
the lanes evenly. A chain that is the only one that can run has the machine, as has a job that
shares its batches with no other.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.engine.latency_curve import LatencyCurve

PATIENCE = 3.0
"""The slowdown from which on a job no longer gives way to shorter ones."""
TOLERANCE = 1.6
"""How many times longer than needed a step may become for the sake of much longer jobs."""
COMPARABLE = 4.0
"""A job is much longer than another if it takes more than so many times as long, each alone."""


@dataclass(eq=False, slots=True)
class Chain:
    """One image in the making: sample `index` of its job, `position` steps done."""

    job: "Job"
    index: int
    label: int | None
    position: int = 0
    is_running: bool = False  # in a batch that is not done


@dataclass(eq=False, slots=True)
class Job:
    """What a client asked for: chains of `num_steps` steps, each taking `rows` network rows."""

    id: str
    num_steps: int
    rows: int = 1
    client: str = ""
    is_alone: bool = False  # shares its batches with no other job
    is_paused: bool = False
    chains: list[Chain] = field(default_factory=list)  # the unfinished ones, in index order
    delay: float = 0.0  # seconds lost to sharing
    steps_left: int = 0  # over all chains
    running: int = 0  # chains in batches that are not done
    alone_seconds: float = 0.0  # what all of it takes alone on the machine, set when admitted
    step_seconds: float = 0.0  # what one step of one of its chains takes, were it alone

    def add_chains(self, indices: Sequence[int], labels: Sequence[int] | None) -> None:
        """Give it a chain for each index."""
        for i, index in enumerate(indices):
            self.chains.append(Chain(self, index, None if labels is None else labels[i]))
        self.steps_left += len(indices) * self.num_steps

    @property
    def slowdown(self) -> float:
        """How many times as long it takes as alone, if nothing delays it from now on."""
        return 1 + self.delay / self.alone_seconds

    def width(self, max_rows: int) -> int:
        """The rows that it could advance at once, were it alone."""
        return min(len(self.chains), max_rows // self.rows) * self.rows

    @property
    def has_waiting(self) -> bool:
        """Could a chain of it join a batch?"""
        return not self.is_paused and self.running < len(self.chains)

    def waiting(self) -> Iterator[Chain]:
        """The chains that could join a batch."""
        return (chain for chain in self.chains if not chain.is_running)

    @property
    def seconds_left(self) -> float:
        """What it still needs, were it alone."""
        return self.steps_left * self.step_seconds

    def fit(self, curve: LatencyCurve) -> None:
        """To the machine, and to the number of its chains: to be told when one of them changes."""
        self.step_seconds = self.rows / curve.rate(self.width(curve.max_rows))


class Scheduler:
    """Chooses batches of at most as many network rows as the curve's largest size, or its share of
    these on a lane."""

    def __init__(self, curve: LatencyCurve, num_lanes: int = 1) -> None:
        """The curve is that of batches which have the machine."""
        self.curve = curve
        self.num_lanes = num_lanes
        self.jobs: dict[str, Job] = {}
        self.preemptions = 0  # chains that had begun and were left out of a batch
        self._paid: dict[str, float] = {}  # seconds, by each client that had something to run
        self._stepped: list[Chain] = []  # by the batch that was done last, and unfinished
        self._batches: list[Batch] = []  # not done

    def __repr__(self) -> str:
        jobs = ", ".join(f"{job.id}: {len(job.chains)}" for job in self.jobs.values())
        return f"<Scheduler [{jobs}]>"

    @property
    def is_idle(self) -> bool:
        """Is there nothing to advance, for now?"""
        return all(job.is_paused for job in self.jobs.values())

    def add(self, job: Job) -> None:
        """Admit a job with at least one chain. Raises ValueError for one that can never run."""
        max_rows = self.curve.max_rows
        if job.rows > max_rows:
            raise ValueError(f"a chain needs {job.rows} rows, the batch has {max_rows}")
        job.fit(self.curve)
        job.alone_seconds = job.seconds_left
        self.jobs[job.id] = job

    def cancel(self, job_id: str) -> Job | None:
        """Remove a job; None when it is not (or no longer) here."""
        job = self.jobs.pop(job_id, None)
        if job is not None:
            self._stepped = [chain for chain in self._stepped if chain.job is not job]
        return job

    def pause(self, job_id: str, *, paused: bool) -> None:
        """Leave a job out of every batch until it is no longer paused."""
        if job_id in self.jobs:
            self.jobs[job_id].is_paused = paused

    def limit(self, max_rows: int) -> list[Job]:
        """Fewer rows from now on; the jobs that can no longer run are still to be cancelled."""
        self.curve = self.curve.up_to(max_rows)
        unfit = [job for job in self.jobs.values() if job.rows > max_rows]
        for job in self.jobs.values():
            if job.rows <= max_rows:
                job.fit(self.curve)
        return unfit

    @property
    def has_waiting(self) -> bool:
        """Could a chain join a batch?"""
        return any(job.has_waiting for job in self.jobs.values())

    def schedule(self) -> "Batch":
        """The next batch, empty when there is none to run now; what it costs is paid, and every
        job's delay brought up to date."""
        active = [job for job in self.jobs.values() if not job.is_paused]
        batch = self._fill(active)
        if not batch:
            return batch
        for chain in batch:
            chain.is_running = True
            chain.job.running += 1
        if not (self._batches or self.has_waiting):
            batch.has_machine = True
        self._batches.append(batch)
        seconds = batch.machine_seconds
        self._pay(batch, seconds)
        for job in active:
            job.delay += seconds
        for chain in batch:
            chain.job.delay -= chain.job.step_seconds
        self.preemptions += sum(not chain.is_running for chain in self._stepped)
        self._stepped = []
        return batch

    def advance(self, batch: "Batch") -> list[Chain]:
        """Count one step of each chain of a batch that is done, but for those of jobs that are no
        longer here; the finished ones leave, and so do jobs without others."""
        self._batches.remove(batch)
        finished = []
        self._stepped = []
        for chain in batch:
            job = chain.job
            chain.is_running = False
            job.running -= 1
            if self.jobs.get(job.id) is not job:
                continue
            chain.position += 1
            job.steps_left -= 1
            if chain.position < job.num_steps:
                self._stepped.append(chain)
                continue
            finished.append(chain)
            job.chains.remove(chain)
            if job.chains:
                job.fit(self.curve)
            else:
                del self.jobs[job.id]
        return finished

    @property
    def _lanes(self) -> int:
        """As many as have two rows each: a guided chain takes two."""
        return max(1, min(self.num_lanes, self.curve.max_rows // 2))

    @property
    def _is_full(self) -> bool:
        """Is there no lane for another batch?"""
        return len(self._batches) >= self._lanes or any(b.has_machine for b in self._batches)

    def _by_client(self, active: Sequence[Job]) -> dict[str, list[Job]]:
        """Each client's jobs that have something waiting, the one whose turn it is first; those who
        come start level."""
        clients: dict[str, list[Job]] = {}
        for job in active:
            jobs = clients.setdefault(job.client, [])
            if job.has_waiting:
                jobs.append(job)
        level = min((self._paid[c] for c in clients if c in self._paid), default=0.0)
        self._paid = {client: self._paid.get(client, level) for client in clients}
        for jobs in clients.values():
            jobs.sort(key=_turn)
        return clients

    def _fill(self, active: Sequence[Job]) -> "Batch":
        """Row by row to the client that has paid least, without rows that would only be padded
        around. A job that is alone comes first or waits; for its batch, the others must be done."""
        batch = Batch(self.curve, self._lanes, sum(len(job.chains) * job.rows for job in active))
        if self._is_full or not active:
            return batch
        clients = self._by_client(active)
        heap = [(self._paid[client], i, client) for i, client in enumerate(clients)]
        heapq.heapify(heap)
        offers = {c: deque(job.waiting() for job in jobs) for c, jobs in clients.items()}
        while heap and batch.rows < batch.limit:
            paid, i, client = heapq.heappop(heap)
            chain = _next(offers[client], batch)
            if chain is not None:
                price = chain.job.rows * self.curve.seconds_per_row
                heapq.heappush(heap, (paid + price, i, client))
        if batch.has_machine and self._batches:
            batch.chains.clear()
        batch.leave_out_padding()
        return batch

    def _pay(self, batch: "Batch", seconds: float) -> None:
        """Everyone for their rows; where the first in line kept others out, these pay no more than
        in a full batch, and the first in line the rest."""
        price = self.curve.seconds_per_row if batch.is_cut_short else seconds / batch.rows
        for chain in batch:
            self._paid[chain.job.client] += chain.job.rows * price
        self._paid[batch.chains[0].job.client] += seconds - batch.rows * price


class Batch:
    """Chains that take a step together; the one that was added first is the first in line's."""

    def __init__(self, curve: LatencyCurve, num_lanes: int, all_rows: int) -> None:
        """For one of so many lanes; `all_rows` of the jobs that could run are to be spread."""
        self.curve = curve
        self.num_lanes = num_lanes
        self.limit = min(curve.max_rows // num_lanes, -(-all_rows // num_lanes))
        self.chains: list[Chain] = []
        self.rows = 0
        self.has_machine = num_lanes == 1  # no other batch runs beside it
        self.is_cut_short = False  # for the sake of the first in line

    def __len__(self) -> int:
        return len(self.chains)

    def __iter__(self) -> Iterator[Chain]:
        return iter(self.chains)

    @property
    def seconds(self) -> float:
        """How long it takes, where the other lanes are as busy."""
        return self._seconds(self.rows)

    @property
    def machine_seconds(self) -> float:
        """The same of the whole machine."""
        return self.seconds / self._share

    def add(self, chain: Chain) -> bool:
        """Add a chain, if it fits and the first in line does not mind."""
        job = chain.job
        if not self.chains and job.is_alone:
            self.has_machine = True
            self.limit = self.curve.max_rows
        first = self.chains[0].job if self.chains else job
        if first is not job and (job.is_alone or first.is_alone):
            return False
        if self.chains and self.rows + job.rows > self.limit:
            return False
        if self._is_in_the_way(first, job):
            self.is_cut_short = True
            return False
        self.chains.append(chain)
        self.rows += job.rows
        return True

    def _is_in_the_way(self, first: Job, job: Job) -> bool:
        is_longer = job.alone_seconds > COMPARABLE * first.alone_seconds
        if not is_longer or first.slowdown >= PATIENCE:
            return False
        needed = self.curve.seconds(first.width(self.curve.max_rows))
        return self._seconds(self.rows + job.rows) > TOLERANCE * needed

    def leave_out_padding(self) -> None:
        """Keep all, or the first of them where fewer at once get more done."""
        best = self.curve.best_rows(self.rows * self._share) // self._share
        while self.rows > best and len(self.chains) > 1:
            self.rows -= self.chains.pop().job.rows

    @property
    def _share(self) -> int:
        return 1 if self.has_machine else self.num_lanes

    def _seconds(self, rows: int) -> float:
        return self.curve.seconds(rows * self._share)


def _turn(job: Job) -> tuple[float, float]:
    left = job.seconds_left
    return (0, left) if job.slowdown < PATIENCE else (-1 - job.delay / left, left)


def _next(jobs: deque[Iterator[Chain]], batch: Batch) -> Chain | None:
    """Add the next chain that the batch takes; a job is passed over once it does not take one."""
    while jobs:
        chain = next(jobs[0], None)
        if chain is not None and batch.add(chain):
            return chain
        jobs.popleft()
    return None
