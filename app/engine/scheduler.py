"""Chooses which chains advance at the next step. Plain data and arithmetic: no torch, clock, thread
or loop.

A chain is one image's reverse process. At every step the batch is filled anew, by seven rules:

1. Clients share the machine's time evenly. The next row goes to the client that has paid for the
   least, of those with something to run. Whoever comes, or comes back, starts level with the one
   that has paid least so far: nobody saves up time by being away. A client that has jobs on
   several engines pays so many times as much on each: all together they give it one share.
2. Among one client's jobs the shortest goes first, by the time that each still needs alone on the
   machine; until sharing has made a job take PATIENCE times as long as alone (its slowdown). Such
   jobs go before all others, the highest response ratio first: 1 + delay / time still needed.
3. The first in line decides how large the batch becomes, since a full batch takes several times as
   long as one row. Jobs that are much longer (COMPARABLE) join only while they keep the step from
   becoming much longer (TOLERANCE) than the first one's own rows make it. Such a step does less
   than a full one: the others pay as for rows of a full batch, the first in line pays the rest.
   Once its patience is at an end, this rule is off and batches are full.
4. No batch is mostly padding. Only some sizes exist, and smaller batches are padded to the next:
   where fewer rows at once get more done, the last ones wait.
5. Batches run side by side, one on each lane of the machine, and each is followed by the next as
   soon as it is done. Waiting chains are spread over the lanes evenly. A chain that is the only
   one has the whole machine, and so has a job that must share its batches with no other.
6. A device that works by itself gets several short steps at once (RUN_SECONDS), and the next batch
   before the last one is done. What a batch takes is paid and counted as it begins.
7. A batch has chains of one network, that of the first in line by rules 1 and 2, which know seconds
   of the machine and no networks. Rules 3 to 6 go by that network's curve and lanes. Whoever waits
   for another network cannot join, so a client that has had a full batch more than they had cannot
   either: else the company of a client that asks for little would be worth more than a share. One
   network's batches may take a hundred times as long as another's: nobody sheds what one of them
   costs by leaving. Other networks' batches fill the other lanes, so chains are spread over fewer.
   Networks that share out the machine in different ways take turns on the whole of it: what is
   under way ends, and nobody is let in before the first in line.

Example, on one lane, where a step takes 2.8, 3.9, 6.5 and 11.7 ms for 1, 2, 4 and 8 rows. A job of
64 images of 1000 steps runs in batches of 8. A job of one image of 20 steps arrives, of the same
client: it is shorter, so it is first in line (rule 2). Its own row takes 2.8 ms; the step may take
4.5 ms (rule 3), so one row of the long job joins it (3.9 ms) and seven wait. Twenty steps later the
short one has left, slowed by 1.4 times, and the long one goes on in batches of 8.
"""

from collections.abc import Callable, Sequence
from typing import Any

from app.engine.batch import Batch
from app.engine.job import Chain, Job
from app.engine.line import Accounts, Line
from app.engine.network import Network


def anywhere(_network: Network[Any]) -> bool:
    """Every network's batches may begin."""
    return True


class Scheduler:
    """Chooses batches of at most as many network rows as their network's largest size; on a lane,
    of at most its share of these."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.preemptions = 0  # chains that had begun and were left out of a batch
        self._accounts = Accounts()
        self._stepped: list[Chain] = []  # by the batch before the next, and unfinished
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
        max_rows = job.network.curve.max_rows
        if job.rows > max_rows:
            raise ValueError(f"a chain needs {job.rows} rows, the batch has {max_rows}")
        job.fit()
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

    def charge(self, job_id: str, client: str) -> None:
        """Have another client pay for a job's next steps, and the job wait among that one's."""
        if job_id in self.jobs:
            self.jobs[job_id].client = client

    def of(self, network: Network[Any]) -> list[Job]:
        """The jobs of a network."""
        return [job for job in self.jobs.values() if job.network is network]

    def limit(self, network: Network[Any], max_rows: int) -> list[Job]:
        """Choose at most `max_rows` rows of a network from now on. Returns the jobs that can no
        longer run: the caller must cancel them."""
        network.curve = network.curve.up_to(max_rows)
        unfit = []
        for job in self.of(network):
            if job.rows <= max_rows:
                job.fit()
            else:
                unfit.append(job)
        return unfit

    def is_here(self, chain: Chain) -> bool:
        """Is its job still one of ours? A job that is cancelled may have chains in a batch."""
        return self.jobs.get(chain.job.id) is chain.job

    def schedule(self, may_begin: Callable[[Network[Any]], bool] = anywhere) -> Batch | None:
        """Choose the next batch; None when there is none to run now, or the network that is first
        in line may not begin. Its clients pay for it, and every job's delay is brought up to
        date."""
        active = [job for job in self.jobs.values() if not job.is_paused]
        batch = self._fill(active, may_begin)
        if batch is None:
            return None
        others_wait = sum(job.num_waiting for job in active) > len(batch)
        if batch.num_lanes > 1 and not (self._batches or others_wait):
            batch.has_machine = batch.is_only = True
        if not batch.is_only:  # of a suspect the very step is to be known that it dies in
            batch.lengthen(batch.network.board.max_steps, others_wait=others_wait)
        seconds = batch.machine_seconds
        self._accounts.pay(batch, seconds)
        for job in active:
            job.delay += seconds
        self._begin(batch)
        return batch

    def _begin(self, batch: Batch) -> None:
        """Count what a batch takes that is about to begin."""
        self._batches.append(batch)
        self.preemptions += len(set(self._stepped).difference(batch))
        self._stepped = []
        is_queued = batch.network.depth > 1
        for chain in batch:
            job, steps = chain.job, batch.steps_of(chain.launched, chain)
            rows = steps * chain.rows
            job.delay -= rows * job.row_seconds
            job.rows_left -= rows
            chain.launched += steps
            if not is_queued or chain.launched == job.num_steps:
                chain.is_running = True
                job.running += 1
            else:
                self._stepped.append(chain)

    def split(self, batch: Batch, parts: Sequence[Sequence[Chain]]) -> list[Batch]:
        """Replace a batch that is not done by smaller ones, each of which has the whole machine.
        Nobody pays again."""
        self._batches.remove(batch)
        batches = [Batch.with_machine(batch.network, chains) for chains in parts]
        self._batches.extend(batches)
        return batches

    def advance(self, batch: Batch) -> list[Chain]:
        """Move each chain of a batch that is done along, and return the finished ones. These leave;
        so do jobs that have no other. Chains of cancelled jobs are passed over."""
        self._batches.remove(batch)
        finished = []
        is_queued = batch.network.depth > 1
        if not is_queued:
            self._stepped = []
        for chain in filter(self.is_here, batch):
            chain.position += batch.steps_of(chain.position, chain)
            if chain.position == chain.job.num_steps:
                finished.append(chain)
            elif not is_queued:
                self._stepped.append(chain)
                chain.is_running = False
                chain.job.running -= 1
        for chain in finished:
            self._leave(chain)
        return finished

    def _leave(self, chain: Chain) -> None:
        job = chain.job
        job.running -= 1
        job.chains.remove(chain)
        if job.chains:
            job.fit()
        else:
            del self.jobs[job.id]

    @property
    def _is_full(self) -> bool:
        """Is there no lane for another batch, nor a place behind those that have begun?"""
        if not self._batches:
            return False
        places = self._batches[0].network.places
        return len(self._batches) >= places or any(batch.is_only for batch in self._batches)

    def _fill(
        self, active: Sequence[Job], may_begin: Callable[[Network[Any]], bool]
    ) -> Batch | None:
        """Fill a batch with chains of these jobs; None where there is no lane for it."""
        if not active or self._is_full:
            return None
        line = Line(active, self._accounts)
        for network in line.networks:
            beside = [other.network for other in self._batches]
            if not (may_begin(network) and all(map(network.runs_beside, beside))):
                return None  # it waits until the others are done (rule 7)
            batch = self._empty(network, active)
            line.fill(batch)
            if batch.is_only and self._batches:  # as does a job that is alone (rule 5)
                return None
            if batch.chains:  # else there is room for none of its states
                batch.leave_out_padding()
                return batch
        return None

    def _empty(self, network: Network[Any], active: Sequence[Job]) -> Batch:
        """An empty batch of a network, whose rows are spread over the lanes that others leave."""
        others = len({job.network for job in active}) - 1
        all_rows = sum(job.rows_now for job in active if job.network is network)
        return Batch(network, max(1, network.lanes - others), all_rows)
