"""Who is next, on plain data; test_scheduler tells whole stories."""

from typing import Any, cast

import pytest

from app.engine.batch import PATIENCE, Batch
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from app.engine.line import Accounts, Line, first_in_line
from app.engine.network import Network
from tests.app.engine.networks import network

ONE, OTHER = (
    network(LatencyCurve({8: 8.0}), key="one"),
    network(LatencyCurve({8: 8.0}), key="other"),
)
"""A row takes a second of a full batch."""


def job(
    name: str, client: str = "", chains: int = 1, steps: int = 10, of: Network[Any] = ONE,
    guided: range = range(0),
) -> Job:  # fmt: skip
    made = Job(name, steps, guided, client, network=of, table=cast(Any, None))
    made.add_chains(range(chains), None)
    made.fit()
    made.alone_seconds = made.seconds_left
    return made


def accounts(**paid: float) -> Accounts:
    """What these clients have paid."""
    made = Accounts()
    made._paid = dict(paid)
    return made


def filled(line: Line, of: Network[Any] = ONE, rows: int = 8) -> str:
    """Fill a batch of so many rows: the jobs of its chains, in order."""
    batch = Batch(of, 1, rows)
    line.fill(batch)
    return " ".join(chain.job.id for chain in batch)


def test_a_client_that_comes_starts_level_with_the_one_that_has_paid_least() -> None:
    made = accounts(a=5.0, b=3.0)
    made.open(["a", "b", "new"], is_one_network=True)
    assert (made["a"], made["b"], made["new"]) == (5.0, 3.0, 3.0)


def test_the_first_client_of_all_starts_at_nothing() -> None:
    made = Accounts()
    made.open(["a"], is_one_network=True)
    assert made["a"] == 0.0


@pytest.mark.parametrize(("is_one_network", "paid"), [(True, 3.0), (False, 9.0)])
def test_with_several_networks_a_debt_outlasts_a_leave(is_one_network: bool, paid: float) -> None:
    made = accounts(gone=9.0, stays=3.0)
    made.open(["stays"], is_one_network=is_one_network)
    made.open(["stays", "gone"], is_one_network=is_one_network)
    assert made["gone"] == paid


def test_a_credit_does_not_outlast_a_leave() -> None:
    made = accounts(gone=1.0, stays=3.0)
    made.open(["stays"], is_one_network=False)
    made.open(["stays", "gone"], is_one_network=False)
    assert made["gone"] == 3.0


def test_everybody_pays_for_the_rows_that_were_theirs() -> None:
    made, batch = accounts(a=0.0, b=1.0), Batch(ONE, 1, 8)
    for each in (job("a", "a"), job("b", "b"), job("b too", "b")):
        assert batch.add(each.chains[0])
    made.pay(batch, seconds=6.0)
    assert (made["a"], made["b"]) == (2.0, 5.0)


def test_who_keeps_others_out_pays_for_the_rows_that_idle() -> None:
    made, batch = accounts(first=0.0, b=0.0), Batch(ONE, 1, 8)
    for each in (job("first", "first"), job("b", "b")):
        assert batch.add(each.chains[0])
    batch.is_cut_short = True
    made.pay(batch, seconds=6.0)
    assert (made["first"], made["b"]) == (5.0, 1.0)


def test_row_after_row_goes_to_the_client_that_has_paid_least() -> None:
    jobs = [job("a", "a", chains=8), job("b", "b", chains=8)]
    assert filled(Line(jobs, accounts(a=0.0, b=2.5))) == "a a a b a b a b"
    assert filled(Line(jobs, accounts(a=0.0, b=0.0)), rows=3) == "a b a"


def test_of_equal_clients_the_one_whose_oldest_job_came_first_is_first() -> None:
    assert filled(Line([job("b", "b"), job("a", "a")], Accounts())) == "b a"


def test_a_guided_chain_costs_two_rows() -> None:
    jobs = [job("g", "a", chains=4, guided=range(10)), job("b", "b", chains=8)]
    assert filled(Line(jobs, Accounts())) == "g b b g b b"


def test_what_is_paused_or_running_is_not_in_line() -> None:
    paused, running, waits = job("p", "p"), job("r", "r"), job("w", "w")
    paused.is_paused = True
    running.chains[0].is_running, running.running = True, 1
    line = Line([paused, running, waits], Accounts())
    assert filled(line) == "w" and line.networks == [ONE]


def test_the_shortest_of_a_clients_jobs_is_first_until_one_is_out_of_patience() -> None:
    long, short = job("long", steps=1000), job("short", steps=10)
    assert sorted([long, short], key=first_in_line) == [short, long]
    long.delay = (PATIENCE - 1) * long.alone_seconds
    assert sorted([short, long], key=first_in_line) == [long, short]
    short.delay = 10 * short.alone_seconds
    assert sorted([long, short], key=first_in_line) == [short, long], "its ratio is higher"


def test_networks_come_in_the_order_of_who_is_first_in_line() -> None:
    jobs = [job("a", "a"), job("b", "b", of=OTHER), job("c", "c", of=OTHER)]
    assert Line(jobs, accounts(a=2.0, b=3.0, c=1.0)).networks == [OTHER, ONE]
    assert Line(jobs, accounts(a=0.0, b=3.0, c=1.0)).networks == [ONE, OTHER]


def test_a_batch_takes_the_jobs_of_its_network_alone() -> None:
    jobs = [job("a", "a"), job("b", "b", of=OTHER), job("b too", "b")]
    assert filled(Line(jobs, Accounts()), ONE) == "a b too"
    assert filled(Line(jobs, Accounts()), OTHER) == "b"


def test_who_has_had_a_full_batch_more_than_one_that_waits_elsewhere_does_not_join() -> None:
    jobs = [job("a", "a"), job("b", "b"), job("c", "c", of=OTHER)]
    assert filled(Line(jobs, accounts(a=1.0, b=8.0, c=0.0)), ONE) == "a b"
    assert filled(Line(jobs, accounts(a=1.0, b=8.1, c=0.0)), ONE) == "a"
    assert filled(Line(jobs, accounts(a=20.0, b=30.0, c=0.0)), ONE) == "a", "one always does"
