"""Who is next: clients by what they have paid for, each with its jobs in order (rules 1, 2 and 7 of
the scheduler)."""

import heapq
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from app.engine.batch import PATIENCE, Batch
from app.engine.job import Chain, Job
from app.engine.network import Network


class Account(NamedTuple):
    """What a client has paid, in seconds of the machine; so many times as much as it is on engines.
    The client that has paid least is the smallest; of equals, the one whose oldest job came
    first."""

    paid: float
    order: int
    client: str


class Accounts:
    """What each client has paid for, of those that had something to run."""

    def __init__(self) -> None:
        self._paid: dict[str, float] = {}  # seconds of the machine

    def __getitem__(self, client: str) -> float:
        return self._paid[client]

    def open(self, clients: Collection[str], *, is_one_network: bool) -> None:
        """Have an account for each of these clients, which have something to run now. One that
        comes starts level with the one that has paid least (rule 1), or, with several networks,
        where it was when it left, if that is more (rule 7). Where none of them has been there
        before, nobody is owed what others had."""
        known = [self._paid[client] for client in clients if client in self._paid]
        level = min(known, default=0.0)
        owing = {}
        if known and not is_one_network:
            owing = {c: paid for c, paid in self._paid.items() if paid > level}
        self._paid = {**owing, **{client: self._paid.get(client, level) for client in clients}}

    def pay(self, batch: Batch, seconds: float) -> None:
        """Have everybody pay for their rows, so many times as they are on engines. Where the first
        in line kept others out, these pay no more than in a full batch, and the first in line pays
        the rest (rule 3)."""
        price = batch.curve.seconds_per_row if batch.is_cut_short else seconds / batch.rows
        for chain in batch:
            self._paid[chain.job.client] += chain.rows * price * chain.job.spread
        first = batch.chains[0].job
        self._paid[first.client] += (seconds - batch.rows * price) * first.spread


class Line:
    """The clients that have something to run, before one batch."""

    def __init__(self, active: Sequence[Job], accounts: Accounts) -> None:
        """Put these jobs in line."""
        self._accounts = accounts
        self._clients: dict[str, list[Job]] = {}  # jobs with something waiting, the first first
        for job in active:
            jobs = self._clients.setdefault(job.client, [])
            if job.has_waiting:
                jobs.append(job)
        for jobs in self._clients.values():
            jobs.sort(key=first_in_line)
        is_one_network = all(job.network is active[0].network for job in active)
        accounts.open(self._clients, is_one_network=is_one_network)

    @property
    def networks(self) -> list[Network[Any]]:
        """The networks with something waiting, that of the first in line first."""
        order = sorted(self._clients, key=self._accounts.__getitem__)
        jobs = (job for client in order for job in self._clients[client])
        return list(dict.fromkeys(job.network for job in jobs))

    def fill(self, batch: Batch) -> None:
        """Give row after row of a batch of a network in line to the client that has paid least
        (rule 1)."""
        offers = self._offers(batch)
        waiting: dict[str, deque[Iterator[Chain]]] = {}  # of the clients that had their turn
        heap = [
            Account(self._accounts[c], i, c) for i, c in enumerate(self._clients) if c in offers
        ]
        heapq.heapify(heap)
        while heap and batch.rows < batch.limit:
            account = heapq.heappop(heap)
            client = account.client
            if client not in waiting:
                waiting[client] = deque(job.waiting() for job in offers[client])
            chain = _add_next(waiting[client], batch)
            if chain is not None:
                price = chain.rows * batch.curve.seconds_per_row * chain.job.spread
                paid = account.paid + price
                heapq.heappush(heap, Account(paid, account.order, client))

    def _offers(self, batch: Batch) -> dict[str, list[Job]]:
        """The jobs of its network that may join a batch, by client, without clients that have had
        too much for that (rule 7)."""
        own, elsewhere = {}, []  # elsewhere: what they have paid who wait for other networks
        for client, jobs in self._clients.items():
            mine = [job for job in jobs if job.network is batch.network]
            if mine:
                own[client] = mine
            if len(mine) < len(jobs):
                elsewhere.append(self._accounts[client])
        if elsewhere:
            full_batch = batch.curve.seconds(batch.curve.max_rows)
            most = max(min(elsewhere) + full_batch, min(map(self._accounts.__getitem__, own)))
            own = {client: jobs for client, jobs in own.items() if self._accounts[client] <= most}
        return own


def first_in_line(job: Job) -> tuple[float, float]:
    """Sort key of one client's jobs (rule 2): those out of patience by falling response ratio, then
    the others by rising time still needed."""
    left = job.seconds_left
    if job.slowdown < PATIENCE:
        return 0.0, left
    response_ratio = 1 + job.delay / left
    return -response_ratio, left


def _add_next(jobs: deque[Iterator[Chain]], batch: Batch) -> Chain | None:
    """Add the next chain that the batch takes; a job is passed over once it does not take one, but
    for a job of which another chain may take fewer rows."""
    while jobs:
        chain = next(jobs[0], None)
        if chain is not None and batch.add(chain):
            return chain
        if chain is None or not chain.job.rows_vary:
            jobs.popleft()
    return None
