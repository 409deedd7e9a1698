"""The one record of a job: made of what was submitted, and asked by the scheduler."""

from typing import Any, cast

from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from app.wire.messages import Submit
from diffusion.config import ProcessConfig
from diffusion.process import Process
from diffusion.samplers import make_table
from tests.app.engine.networks import network

TABLE = make_table(Process.from_config(ProcessConfig(num_timesteps=50)), "ddim", 10)
SUBMIT = Submit(
    "job", "", 7, (4, 6), (0, 1), "ddim", 10, guidance=1.5, shown=(0, 10), client="c",
    is_alone=True, waited=3.0, request_id="abc",
)  # fmt: skip


def test_it_has_all_that_was_submitted_and_a_chain_for_each_index() -> None:
    asked: list[Submit] = []
    mine = network()
    mine.table = lambda submit: asked.append(submit) or TABLE  # type: ignore[func-returns-value]
    job = Job.of(SUBMIT, mine, now=2.0)
    assert asked == [SUBMIT] and job.table is TABLE and job.network is mine
    assert (job.id, job.seed, job.guidance, job.rows) == ("job", 7, 1.5, 2)
    assert (job.client, job.is_alone, job.request_id) == ("c", True, "abc")
    assert (job.submitted, job.started, job.delay) == (2.0, None, 3.0)
    assert job.shown == {0, 10}
    assert [(chain.index, chain.label, chain.position) for chain in job.chains] == [
        (4, 0, 0), (6, 1, 0),
    ]  # fmt: skip
    assert job.num_steps == 10 and job.rows_left == 40


def test_a_chain_takes_two_rows_where_its_next_step_is_guided() -> None:
    job = Job("a", num_steps=5, guided=range(1, 3), network=network(), table=cast(Any, None))
    job.add_chains(range(2), None)
    (chain, other), seen = job.chains, []
    for chain.launched in range(5):
        seen.append((chain.rows, job.rows_now))
    assert other.rows == 1
    assert seen == [(1, 2), (2, 3), (2, 3), (1, 2), (1, 2)]
    assert [job.rows_at(k) for k in range(5)] == [1, 2, 2, 1, 1]
    assert [job.rows_alike(k) for k in range(3)] == [1, 2, 1] and job.rows_alike(3) > 5
    assert job.rows == 2 and job.rows_left == 2 * (5 + 2)


def test_what_it_needs_alone_follows_from_the_curve_and_from_what_is_left() -> None:
    mine = network(LatencyCurve({4: 2.0}))
    job = Job("a", num_steps=10, network=mine, table=cast(Any, None))
    job.add_chains(range(4), None)
    job.fit()
    assert job.seconds_left == 4 * 10 * 2.0 / 4
    job.alone_seconds = job.seconds_left
    job.delay = job.alone_seconds
    assert job.slowdown == 2.0


def test_a_paused_job_and_one_whose_chains_all_run_have_none_waiting() -> None:
    job = Job("a", num_steps=10, network=network(), table=cast(Any, None))
    job.add_chains(range(2), None)
    job.chains[0].is_running, job.running = True, 1
    assert job.has_waiting and [chain.index for chain in job.waiting()] == [1]
    job.is_paused = True
    assert not job.has_waiting
    job.is_paused, job.running = False, 2
    assert not job.has_waiting
