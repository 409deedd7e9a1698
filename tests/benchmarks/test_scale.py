"""benchmarks.scale: the real scheduler and pool in simulated time, and what is made of it."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.scale import __main__ as command
from benchmarks.scale import experiments, router
from benchmarks.scale.clock import Clock
from benchmarks.scale.curves import MACHINES, Machine, machine
from benchmarks.scale.experiments import Trial, jain
from benchmarks.scale.requests import LARGEST, Load, Request, mean_rows
from benchmarks.scale.service import Service, per_engine

CPU = MACHINES["cpu"]
FLAT = Machine("flat", {8: 0.01}, lanes=1, source="a test")
"""Every step takes 10 ms."""


def service(engines: int, machine: Machine = FLAT, queue: int = 256) -> Service:
    return Service(Clock(), machine, engines, per_engine(queue, engines))


def test_what_is_planned_happens_in_order() -> None:
    clock, told = Clock(), []
    clock.after(2.0, lambda: told.append(("second", clock.now)))
    clock.after(1.0, lambda: clock.after(1.0, lambda: told.append(("third", clock.now))))
    clock.after(1.0, lambda: told.append(("first", clock.now)))
    clock.run(1.5)
    assert told == [("first", 1.0)] and clock.now == 1.5
    clock.run(9.0)
    assert told[1:] == [("second", 2.0), ("third", 2.0)]


def test_a_request_alone_takes_its_steps() -> None:
    one = service(1)
    visit = one.ask(Request(0.0, "x", n=3, steps=20))
    one.clock.run(10.0)
    assert visit.seconds == pytest.approx(20 * 0.01)
    assert one.rows_done == 60


def test_full_batches_give_all_rows_a_second_that_the_machine_has() -> None:
    assert machine("cpu").rows_per_second == pytest.approx(16 / 0.0222)
    busy = service(2)
    for number in range(20):
        busy.ask(Request(0.0, f"client {number}", n=8, steps=50))
    busy.clock.run(5.0)
    assert busy.rows_done == 2 * 8 * 500


def test_what_an_engine_had_when_it_died_is_made_by_others() -> None:
    three = service(3)
    visits = [three.ask(Request(0.0, "x", n=8, steps=10 * (1 + i))) for i in range(6)]
    three.clock.after(0.15, three.engines[0].die)
    three.clock.run(20.0)
    assert three.engines[0].deaths == 1
    assert all(math.isfinite(visit.done) for visit in visits)


def test_a_client_that_is_refused_comes_back_when_it_is_told_to() -> None:
    full = service(1, queue=8)
    first = full.ask(Request(0.0, "x", n=4, steps=300))
    refused = full.ask(Request(0.0, "x", n=4, steps=10))
    full.clock.run(30.0)
    assert first.promised is None and first.seconds == pytest.approx(3.0)
    assert refused.promised is not None and refused.refusals > 0
    assert refused.done > refused.promised


def test_requests_are_heavy_tailed_and_come_at_the_rate_that_is_asked_for() -> None:
    requests = list(Load(100.0, 50, swing=0.5, period=100.0).requests(400.0, seed=1))
    assert len(requests) / 400 == pytest.approx(100, rel=0.03)
    assert sum(r.rows for r in requests) / len(requests) == pytest.approx(mean_rows(), rel=0.1)
    assert max(request.n for request in requests) == LARGEST
    by_day = sum(request.at % 100 < 50 for request in requests) / len(requests)
    assert by_day == pytest.approx(0.5 + 0.5 / math.pi, abs=0.01)
    assert requests == list(Load(100.0, 50, 0.5, 100.0).requests(400.0, seed=1))


def test_the_same_seed_gives_the_same_figures_and_another_does_not() -> None:
    one, again, other = (experiments.loads(Trial(CPU, 3, 10.0, seed), [0.8]) for seed in (1, 1, 2))
    assert one == again != other


def test_the_figures_are_those_of_looking_at_every_engine_for_each_request() -> None:
    """As they were found when the pool did so: to choose in less time is to choose the same."""
    (row,) = experiments.loads(Trial(FLAT, 24, 2.5), [0.8])
    found = [row[name] for name in ("requests/s", "p50 s", "p95 s", "p99 s", "slowdown p99")]
    assert found == pytest.approx([171.428571, 0.2036599, 1.2791446, 2.5099906, 2.7556971])


def test_a_day_lasts_until_nothing_is_left_to_do() -> None:
    day, *_ = experiments.day(Trial(FLAT, 24, 3.0), 0.9, 0.5, life=10.0)
    assert (day["deaths"], day["lost"]) == (14, 0), "3 are done after twice the day"


def test_jains_index_is_one_where_all_get_the_same() -> None:
    assert jain([3.0, 3.0, 3.0]) == 1.0
    assert jain([3.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert math.isnan(jain([]))


def test_greed_pays_little_on_one_engine_and_on_several() -> None:
    alone, several = (experiments.fairness(Trial(FLAT, engines, 20.0)) for engines in (1, 4))
    assert alone["Jain's index"] > 0.99
    assert several["Jain's index"] > 0.9, "0.66 where each engine alone shares its time evenly"


def test_a_day_has_24_hours_and_a_rush_hour() -> None:
    total, *hours = experiments.day(Trial(FLAT, 2, 48.0), 0.8, 0.5, life=10.0)
    assert len(hours) == 24 and total["deaths"] > 0 and total["lost"] == 0
    assert max(hours, key=lambda hour: hour["load"])["hour"] in ("5", "6")


def test_large_requests_are_done_sooner_where_they_are_split() -> None:
    found = experiments.splitting(Trial(FLAT, 8, 60.0), [0.1])
    whole, split = (row["large p50 s"] for row in found)
    assert split < whole / 2


def test_the_pool_is_timed() -> None:
    assert 0 < router.router(3, 2, seconds=0.01)["microseconds"] < 1e6


def test_a_machine_is_read_from_the_answer_of_a_server(tmp_path: Path) -> None:
    answer = tmp_path / "mine.json"
    answer.write_text(
        json.dumps({"name": "m", "device": "cuda:0", "step_seconds": {"8": 0.01, "64": 0.02}})
    )
    mine = machine(str(answer))
    assert (mine.name, mine.lanes, mine.rows_per_second) == ("mine", 1, 3200)
    for text in ("{}", "[]", '{"name": "m", "device": "cpu", "step_seconds": {}}', "no JSON"):
        answer.write_text(text)
        with pytest.raises(ValueError, match="no answer of GET /model"):
            machine(str(answer))


def test_a_machine_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--machines", "abacus"]) == 2
    assert "--machines: 'abacus': it must be cpu, h200, or a file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_gives_tables_and_plots_which_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plots = tmp_path / "scale.json", tmp_path / "plots"
    flags = ["--machines", "h200", "--sizes", "2", "--steps=100", f"--out={out}"]
    what = ["loads", "days", "fairness", "splitting", "router"]
    assert command.main([*flags, "--only", *what]) == 0
    told = capsys.readouterr().out
    assert "| h200 | 2 | 0.900 |" in told and "Jain's index" in told
    assert command.main([f"--from={out}", f"--plots={plots}"]) == 0
    assert capsys.readouterr().out == told
    assert sorted(path.stem for path in plots.iterdir()) == sorted(what)


@pytest.mark.slow
def test_an_answer_is_timed_with_an_engine_that_takes_no_time() -> None:
    assert router.http(answers=40)["answers/s of one core"] > 1
