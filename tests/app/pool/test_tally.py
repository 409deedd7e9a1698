"""Counts of what is left to do: the same as from looking at every job, whatever happens to them."""

import random

from app.pool.engine_jobs import EngineJobs
from app.pool.inflight import InFlight
from app.pool.tally import Queue, Tally
from app.wire.flight_recorder import Place
from app.wire.messages import Done, Failed, Finished, Submit


def submit(job_id: str, n: int, model: str, client: str, guidance: float = 0.0) -> Submit:
    labels = (0,) * n if guidance else None
    return Submit(
        job_id, model, 1, tuple(range(n)), labels, "ddim", 10, guidance=guidance, client=client
    )


def counted_anew(jobs: list[InFlight]) -> Tally:
    tally = Tally()
    for job in jobs:
        tally.join(job.submit, len(job.missing))
    return tally


def same(one: Tally, other: Tally) -> bool:
    return vars(one) == vars(other)


def started(name: str, n: int, model: str, client: str, jobs: EngineJobs) -> InFlight:
    return InFlight(submit(name, n, model, client), None, jobs, lambda *_: None)


def count(inflight: InFlight, queue: Queue) -> None:
    """As the pool does."""
    inflight.count_in(queue.everybody)
    inflight.call(queue.share(inflight.submit.client))


class Random:
    """Jobs that come, advance, end, fail, are cancelled, and outlive their engine or do not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queue = Queue()
        self.jobs = EngineJobs(set(), lambda _: None, lambda: None)

    def act(self, number: int) -> None:
        inflight = list(self.jobs.inflight.values())
        act = self.random.choice(("come", "come", "finish", "finish", "done", "fail", "cancel"))
        if act == "come" or not inflight:
            n, model = self.random.randint(1, 4), self.random.choice("ab")
            new = started(f"job {number}", n, model, self.random.choice("xyz"), self.jobs)
            count(new, self.queue)
            self.jobs.submit(new)
            return
        job = self.random.choice(inflight)
        job_id = job.submit.id
        if act == "finish":
            self.jobs.accept(Finished(job_id, self.random.choice(job.submit.indices), b""))
        elif act == "done":
            self.jobs.accept(Done(job_id, 0.0, 0.0))
        elif act == "fail":
            self.jobs.accept(Failed(job_id, "why"))
        else:
            self.jobs.release(job)


def test_counts_are_those_of_looking_at_every_job() -> None:
    for seed in range(20):
        made = Random(seed)
        for number in range(100):
            made.act(number)
            jobs = list(made.jobs.inflight.values())
            assert same(made.queue.everybody, counted_anew(jobs))
            assert same(made.jobs.tally, counted_anew(jobs))
            clients = {job.submit.client for job in jobs}
            assert made.queue.num_clients == len(clients)
            for client in "xyz":
                own = [job for job in jobs if job.submit.client == client]
                assert same(made.queue.of(client), counted_anew(own))


def test_a_job_that_ends_with_its_engine_is_counted_no_more() -> None:
    jobs, queue = EngineJobs(set(), lambda _: None, lambda: None), Queue()
    for name in ("guilty", "other"):
        inflight = started(name, 2, "a", "x", jobs)
        count(inflight, queue)
        jobs.submit(inflight)
    for _ in range(3):
        jobs.outlive({"guilty": Place("guilty", 0, 5)}, was_killed=False)
    assert list(jobs.inflight) == ["other"]
    assert queue.everybody.clients == jobs.tally.clients == {"x": 1}
    assert queue.everybody.samples == jobs.tally.samples == 2


def test_a_job_that_several_wait_for_is_each_ones_and_everybodys_once() -> None:
    jobs, queue = EngineJobs(set(), lambda _: None, lambda: None), Queue()
    inflight = started("job", 3, "a", "x", jobs)
    count(inflight, queue)
    for client in "xy":
        inflight.call(queue.share(client))
    jobs.submit(inflight)
    jobs.accept(Finished("job", 0, b""))
    assert (queue.everybody.samples, queue.of("x").samples, queue.of("y").samples) == (2, 4, 2)
    inflight.hang_up("x")
    assert (queue.everybody.samples, queue.of("x").samples, queue.num_clients) == (2, 2, 2)
    jobs.accept(Done("job", 0.0, 0.0))
    assert queue.num_clients == len(queue.everybody.clients) == 0
    inflight.hang_up("x")
    inflight.hang_up("y")
    assert queue.num_clients == 0


def test_who_pays_for_a_job_is_whose_it_is() -> None:
    jobs, queue = EngineJobs(set(), lambda _: None, lambda: None), Queue()
    inflight = started("job", 3, "a", "x", jobs)
    count(inflight, queue)
    jobs.submit(inflight)
    inflight.charge("y")
    assert queue.everybody.clients == jobs.tally.clients == {"y": 1}
    jobs.accept(Done("job", 0.0, 0.0))
    assert not queue.everybody.clients and not jobs.tally.clients


def test_a_job_that_goes_elsewhere_takes_only_what_is_left_of_it() -> None:
    here, there, queue = Tally(), Tally(), Queue()
    jobs = EngineJobs(set(), lambda _: None, lambda: None)
    inflight = started("job", 3, "a", "x", jobs)
    count(inflight, queue)
    inflight.count_in(here)
    inflight.accept(Finished("job", 1, b""))
    inflight.count_out(here)
    inflight.count_in(there)
    assert same(here, Tally())
    assert there.rows == {"a": 20} and queue.everybody.rows == {"a": 20}


def test_rows_are_counted_by_model_and_guided_steps_twice() -> None:
    tally = Tally()
    tally.join(submit("a", 2, "fast", "x"), 2)
    tally.join(submit("b", 1, "slow", "x", guidance=1.0), 1)
    assert tally.rows == {"fast": 2 * 10, "slow": 20}
