"""Whose turn it is, on plain data; the rules as a whole are in test_scheduler and
test_several_networks."""

import gc
import weakref
from typing import Any, cast

import pytest

from app.engine.batch import PATIENCE, Batch
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from app.engine.line import Accounts, Line, first_in_line
from app.engine.network import Network
from tests.app.engine.networks import network


def job(of: Network[Any], name: str, client: str, chains: int = 4, steps: int = 10) -> Job:
    made = Job(name, steps, client=client, network=of, table=cast(Any, None))
    made.add_chains(range(chains), None)
    made.fit()
    made.alone_seconds = made.seconds_left
    return made


def filled(line: Line, of: Network[Any]) -> Batch:
    batch = Batch(of, 1, 100)
    line.fill(batch)
    return batch


def test_rows_go_to_the_client_that_has_paid_least() -> None:
    one, accounts = network(), Accounts()
    a, b = job(one, "a", "x"), job(one, "b", "y")
    batch = filled(Line([a, b], accounts), one)
    assert [chain.job.id for chain in batch] == ["a", "b"] * 4
    of_b = Batch(one, 1, 100)
    assert all(map(of_b.add, b.chains))
    accounts.pay(of_b, 1.0)
    assert (accounts["x"], accounts["y"]) == (0.0, 1.0)
    assert [chain.job.id for chain in filled(Line([a, b], accounts), one)] == ["a"] * 4 + ["b"] * 4


def test_who_comes_starts_level_with_the_one_that_has_paid_least() -> None:
    one, accounts = network(), Accounts()
    a, b = job(one, "a", "x"), job(one, "b", "y")
    accounts.pay(filled(Line([a], accounts), one), 1.0)
    Line([a, b], accounts)
    assert accounts["y"] == accounts["x"] == 1.0


def test_the_network_of_who_has_paid_least_is_first() -> None:
    quick, slow, accounts = network(key="quick"), network(key="slow"), Accounts()
    jobs = [job(quick, "a", "x"), job(slow, "b", "y")]
    line = Line(jobs, accounts)
    assert line.networks == [quick, slow]
    accounts.pay(filled(line, quick), 1.0)
    assert Line(jobs, accounts).networks == [slow, quick]


@pytest.mark.parametrize(("others", "paid"), [(True, 5.0), (False, 0.0)])
def test_with_several_networks_who_comes_back_is_where_it_was(others: bool, paid: float) -> None:
    one, other, accounts = network(), network(), Accounts()
    stays = [job(one, "a", "x"), job(other if others else one, "b", "y")]
    leaves = job(one, "c", "z")
    batch = filled(Line([leaves], accounts), one)
    Line([*stays, leaves], accounts)
    accounts.pay(batch, 5.0)
    Line(stays, accounts)
    Line([*stays, leaves], accounts)
    assert accounts["z"] == paid


def test_what_was_had_while_nobody_of_those_in_line_was_there_is_owed_to_none_of_them() -> None:
    one, other, accounts = network(), network(), Accounts()
    alone = job(one, "a", "x")
    accounts.pay(filled(Line([alone], accounts), one), 3600.0)
    comes = [job(one, "b", "y"), job(other, "c", "y")]
    Line(comes, accounts)
    Line([*comes, alone], accounts)
    assert accounts["x"] == accounts["y"]


def test_the_shortest_goes_first_until_another_has_waited_too_long() -> None:
    one = network()
    short, long = job(one, "short", "x", steps=2), job(one, "long", "x", steps=50)
    assert min(long, short, key=first_in_line) is short
    long.delay = PATIENCE * long.alone_seconds
    assert min(long, short, key=first_in_line) is long


def test_who_keeps_others_out_pays_for_the_rows_that_idle() -> None:
    one, accounts = network(LatencyCurve({8: 8.0})), Accounts()
    a, b = job(one, "a", "x", chains=1), job(one, "b", "y", chains=1)
    batch = filled(Line([a, b], accounts), one)
    batch.is_cut_short = True
    accounts.pay(batch, 6.0)
    assert (accounts["x"], accounts["y"]) == (5.0, 1.0), "b as in a full batch"


def test_what_is_paused_or_running_is_not_in_line() -> None:
    one, other, accounts = network(), network(), Accounts()
    paused, running, waits = job(one, "p", "x"), job(other, "r", "y", 1), job(one, "w", "z", 1)
    paused.is_paused = True
    running.chains[0].is_running, running.running = True, 1
    line = Line([paused, running, waits], accounts)
    assert line.networks == [one]
    assert [chain.job.id for chain in filled(line, one)] == ["w"]


@pytest.mark.parametrize(("ahead", "joins"), [(8.0, True), (8.1, False)])
def test_who_has_had_a_full_batch_more_than_one_that_waits_elsewhere_does_not_join(
    ahead: float, joins: bool
) -> None:
    curve = LatencyCurve({8: 8.0})
    one, other, accounts = network(curve), network(curve), Accounts()
    a, b, c = job(one, "a", "x", 1), job(one, "b", "y", 1), job(other, "c", "z", 1)
    batch = filled(Line([b], accounts), one)
    Line([a, b, c], accounts)
    accounts.pay(batch, ahead)
    ids = [chain.job.id for chain in filled(Line([a, b, c], accounts), one)]
    assert ids == (["a", "b"] if joins else ["a"])


def test_accounts_keep_no_jobs() -> None:
    one, accounts = network(), Accounts()
    gone = job(one, "a", "x")
    accounts.pay(filled(Line([gone], accounts), one), 1.0)
    reference = weakref.ref(one)
    del one, gone
    gc.collect()
    assert reference() is None
