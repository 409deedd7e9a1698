"""Who is admitted, and which engine gets the work: engines that are not started take the jobs."""

import asyncio
from dataclasses import replace

import pytest

from app.pool.admission import Bounds, Limits
from app.pool.errors import ClientOverLimit, NotReady, Overloaded, TooLate
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.split import Split
from app.pool.version import Source
from app.wire.flight_recorder import Place
from app.wire.messages import (
    Cancel,
    Charge,
    Done,
    Failed,
    Finished,
    Message,
    Submit,
    Unusable,
)
from tests.app.pool.fake_processes import (
    KEY,
    ROOMY,
    FakeProcess,
    asked,
    engines,
    finished,
    parts,
    read,
    ready,
    refusal,
    starting,
)
from tests.model_info import MODEL


def bounds(server: tuple[int, int], client: tuple[int, int]) -> Limits:
    return Limits(Bounds(*server), Bounds(*client))


def test_engines_are_started_and_stopped_together() -> None:
    pool = starting(num_engines=3)
    assert not any(engine.calls for engine in engines(pool)), "nothing starts by itself"
    pool.start()
    asyncio.run(pool.stop())
    assert all(engine.calls == ["start", "stop"] for engine in engines(pool))


def test_before_an_engine_has_the_model_nothing_is_admitted() -> None:
    pool = starting(num_engines=2)
    assert refusal(pool, asked("a")) == (NotReady, "the model m is being loaded", 20)
    second = engines(pool)[1]
    second.get_ready()
    assert pool.ready_engines == [second]
    pool.submit(asked("a"))
    assert list(second.inflight) == ["a"]


def test_after_a_death_nothing_is_admitted_until_the_model_is_loaded_again() -> None:
    pool = ready()
    pool.engines[0].loads.die(())
    pool.models.on_death()
    assert refusal(pool, asked("a")) == (NotReady, "the model m is being loaded", 1)


def test_a_version_that_is_forgotten_is_asked_for_again() -> None:
    pool = ready()
    assert refusal(pool, asked("a", model="m#7")) == (
        NotReady, "the model m has been replaced; ask again", 1
    )  # fmt: skip


def test_rows_count_by_the_seconds_that_they_take_of_their_model() -> None:
    pool = ready(bounds(server=(4, 10_000), client=(4, 10_000)), num_engines=2)
    first, second = pool.engines
    pool.submit(asked("a", n=1, steps=20, model="slow#2"))  # 2 s
    pool.submit(asked("b", n=1, steps=100))  # 0.25 s
    pool.submit(asked("c", n=1, steps=100))
    assert (list(first.inflight), list(second.inflight)) == (["a"], ["b", "c"])
    assert refusal(pool, asked("d", n=2))[2] == 2  # 2.5 s on two engines


def test_the_engine_with_the_fewest_network_rows_to_do_gets_the_job() -> None:
    pool = ready(num_engines=2)
    first, second = pool.engines
    pool.submit(asked("a", n=1, steps=30))
    pool.submit(asked("b", n=2, steps=10))
    pool.submit(asked("c", n=1, steps=10, guidance=1.0))  # 20 rows, beside 20 of the other's 30
    pool.submit(asked("d"))
    assert list(first.inflight) == ["a", "d"]
    assert list(second.inflight) == ["b", "c"]


def test_engines_are_told_on_how_many_of_them_a_client_has_jobs() -> None:
    pool = ready(num_engines=3)
    for job_id, client in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x")):
        pool.submit(asked(job_id, steps=10, client=client))
    told = [message for engine in engines(pool) for message in engine.told]
    spread = {message.id: message.spread for message in told if isinstance(message, Submit)}
    assert spread == {"a": 1, "b": 2, "c": 1, "d": 2}, "d is where a is"
    pool.submit(asked("e", n=24, steps=10, client="z"))
    parts = [inflight.submit for engine in pool.engines for inflight in engine.inflight.values()]
    assert [part.spread for part in parts if part.client == "z"] == [3, 3, 3]


def test_what_an_engine_has_finished_no_longer_counts() -> None:
    pool = ready(num_engines=2)
    first, second = pool.engines
    done = pool.submit(asked("a", n=3))
    pool.submit(asked("b", n=2))
    for index in (0, 1):
        done.accept(Finished("a", index, b""))
    assert (first.backlog, second.backlog, pool.queued_samples) == (10, 20, 3)
    pool.submit(asked("c"))
    assert list(first.inflight) == ["a", "c"]


def test_samples_beyond_the_servers_bound_are_refused_with_the_time_for_the_queue() -> None:
    pool = ready(bounds(server=(10, 10_000), client=(10, 10_000)))
    pool.submit(asked("a", n=8, steps=100, client="x"))
    assert refusal(pool, asked("b", n=3, client="y")) == (
        Overloaded,
        "the queue has room for 2 of the 3 samples asked for (it holds 10)",
        2,  # 800 rows of 2.5 ms
    )
    pool.submit(asked("c", n=2, client="y"))
    assert pool.queued_samples == 10


def test_steps_beyond_the_servers_bound_are_refused() -> None:
    pool = ready(bounds(server=(100, 1000), client=(100, 1000)))
    pool.submit(asked("a", n=4, steps=200, client="x"))
    assert refusal(pool, asked("b", n=1, steps=201, client="y")) == (
        Overloaded,
        "the queue has room for 200 of the 201 steps asked for (it holds 1000)",
        2,
    )


def test_more_engines_are_done_sooner() -> None:
    pool = ready(bounds(server=(8, 10_000), client=(8, 10_000)), num_engines=2)
    pool.submit(asked("a", n=8, steps=200))
    assert refusal(pool, asked("b"))[2] == 2  # 1600 rows of 2.5 ms on two engines
    engines(pool)[1].status = "restarting"
    assert refusal(pool, asked("b"))[2] == 4


def test_a_client_may_try_again_after_a_second_at_the_earliest() -> None:
    pool = ready(bounds(server=(1, 100), client=(1, 100)))
    pool.submit(asked("a"))
    assert refusal(pool, asked("b"))[2] == 1


def test_a_clients_own_bound_is_told_with_the_time_for_its_own_part() -> None:
    pool = ready(bounds(server=(100, 100_000), client=(5, 100_000)))
    pool.submit(asked("a", n=4, steps=100, client="x"))
    pool.submit(asked("b", n=5, steps=1000, client="y"))
    assert refusal(pool, asked("c", n=2, client="x")) == (
        ClientOverLimit,
        "your part of the queue has room for 1 of the 2 samples asked for (it holds 5)",
        2,  # its 400 rows take twice as long beside the other client's
    )
    assert refusal(pool, asked("c", client="y"))[2] == 14  # all 5400 rows, less than twice its own
    pool.submit(asked("c", n=2, client="z"))


def test_a_clients_steps_are_bounded_too() -> None:
    pool = ready(bounds(server=(100, 10_000), client=(100, 50)))
    pool.submit(asked("a", n=4, client="x"))
    assert refusal(pool, asked("b", n=2, client="x"))[:2] == (
        ClientOverLimit,
        "your part of the queue has room for 10 of the 20 steps asked for (it holds 50)",
    )


def test_a_job_that_is_left_makes_room_and_its_samples_are_counted_by_outcome() -> None:
    pool = ready(bounds(server=(3, 100), client=(3, 100)))
    with pool.submit(asked("a", n=3)) as inflight:
        inflight.accept(Finished("a", 1, b""))
    assert pool.queued_samples == 0
    counted = {counted: samples for counted, samples in pool.outcomes.items() if samples}
    assert counted == {("m", "finished"): 1, ("m", "cancelled"): 2}
    assert pool.outcomes["slow", "failed"] == 0
    with pool.submit(asked("b", n=3)) as inflight:
        inflight.accept(Failed("b", "why"))
        assert asyncio.run(read(inflight)) == [Failed("b", "why")]
    assert pool.outcomes["m", "failed"] == 3


def test_a_job_that_several_wait_for_counts_for_each_and_is_in_the_queue_once() -> None:
    pool = ready(bounds(server=(8, 100_000), client=(6, 100_000)))
    inflight = pool.submit(asked("a", n=5, client="x"))
    again = asked("a2", n=5, client="y")
    pool.join(inflight, again)
    assert pool.queued_samples == 5
    for client in "xy":
        reason = "your part of the queue has room for 1 of the 2 samples asked for (it holds 6)"
        assert refusal(pool, asked("b", n=2, client=client))[:2] == (ClientOverLimit, reason)
    with pytest.raises(ClientOverLimit):
        pool.join(inflight, again)
    pool.leave(inflight, "y")
    pool.submit(asked("b", n=2, client="y"))
    with pytest.raises(ClientOverLimit):
        pool.join(inflight, again, Bounds(5, 100_000))
    pool.is_draining = True
    with pytest.raises(NotReady, match="shutting down"):
        pool.join(inflight, asked("a3", client="z"))


def test_a_job_in_parts_counts_for_each_who_waits_and_is_in_the_queue_once() -> None:
    pool = ready(bounds(server=(100, 100_000), client=(50, 100_000)), num_engines=2)
    whole = pool.submit(asked("a", n=40, client="x"))
    assert isinstance(whole, Split) and len(whole.pieces) == 2
    pool.join(whole, asked("b", n=40, client="y"))
    assert pool.queued_samples == 40
    reason = "your part of the queue has room for 10 of the 11 samples asked for (it holds 50)"
    assert refusal(pool, asked("c", n=11, client="y"))[:2] == (ClientOverLimit, reason)
    pool.leave(whole, "x")
    assert {part.submit.client for part in whole.pieces} == {"y"}
    pool.submit(asked("c", n=50, client="x"))


def test_of_those_who_wait_for_a_job_the_one_with_the_least_in_the_queue_pays() -> None:
    pool = ready()
    engine, sent = engines(pool)[0], list[Message]()
    engine.jobs._send = sent.append
    pool.submit(asked("other", n=9, client="busy"))
    whole = pool.submit(asked("a", client="busy"))
    sent.clear()
    pool.join(whole, asked("a2", client="idle"))
    pool.join(whole, asked("a3", client="busy"))
    assert sent == [Charge("a", "idle")]
    pool.leave(whole, "idle")
    assert sent[1:] == [Charge("a", "busy")]
    assert whole.pieces[0].remainder().client == "busy", "also for the next engine"


def test_events_must_be_read_in_the_time_that_was_given() -> None:
    async def run() -> None:
        pool = ready()
        with pool.submit(asked("a"), seconds=0.0) as late, pool.submit(asked("b")) as patient:
            with pytest.raises(TooLate):
                await read(late)
            patient.accept(Done("b", 0.0, 0.0))
            assert await read(patient) == [Done("b", 0.0, 0.0)]

    asyncio.run(run())


def test_a_pool_that_drains_takes_no_job_and_lets_the_others_end() -> None:
    async def run() -> None:
        pool = ready()
        quick, slow = pool.submit(asked("quick")), pool.submit(asked("slow"))
        draining = asyncio.create_task(pool.drain(seconds=0.0))
        await asyncio.sleep(0)
        assert pool.is_draining
        assert refusal(pool, asked("new")) == (NotReady, "the server is shutting down", None)
        with quick:
            quick.accept(Done("quick", 0.0, 0.0))
            assert await read(quick) == [Done("quick", 0.0, 0.0)]
        await draining
        with pytest.raises(NotReady, match="^the server is shutting down; ask again$"):
            await read(slow)

    asyncio.run(run())


def test_a_large_request_is_cut_into_neighbouring_samples_and_read_as_one() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    with pool.submit(asked("a", n=20)) as whole:
        assert isinstance(whole, Split)
        assert parts(pool) == [tuple(range(8)), tuple(range(8, 20))]
        assert pool.queued_samples == 20
        finished(second, "a.1", *range(8, 20))
        second.say(Done("a.1", 1.0, 2.0))
        finished(first, "a.0", *range(8))
        first.say(Done("a.0", 0.5, 1.0))
        *events, last = asyncio.run(read(whole))
    assert events == [Finished("a", i, b"") for i in (*range(8, 20), *range(8))]
    assert last == Done("a", 0.5, 2.5)
    assert pool.outcomes["m", "finished"] == 20
    assert pool.queued_samples == 0


def test_a_request_of_less_than_two_full_batches_is_not_cut() -> None:
    pool = ready(num_engines=2)
    pool.submit(asked("a", n=15))
    assert parts(pool) == [tuple(range(15)), ()]


def test_of_a_request_that_fails_in_part_nothing_is_waited_for() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    with pool.submit(asked("a", n=16)) as whole:
        finished(first, "a.0", *range(8))
        second.say(Failed("a.1", "why"))
        *_, last = asyncio.run(read(whole))
        assert last == Failed("a", "why")
    assert (pool.outcomes["m", "finished"], pool.outcomes["m", "failed"]) == (8, 8)
    assert Cancel("a.0") in first.told


def test_the_parts_of_a_request_have_one_deadline() -> None:
    async def run() -> None:
        pool = ready(num_engines=2)
        with pool.submit(asked("a", n=16), seconds=0.0) as whole:
            finished(engines(pool)[0], "a.0", 3)
            assert await anext(whole) == Finished("a", 3, b"")
            with pytest.raises(TooLate, match="^only 1 of 16 samples"):
                await anext(whole)

    asyncio.run(run())


def test_a_job_that_kills_every_engine_it_meets_fails_alone() -> None:
    pool = ready(num_engines=3)
    first, second, third = engines(pool)
    poison, neighbour = pool.submit(asked("poison", n=4)), pool.submit(asked("fine", n=4))
    assert parts(pool) == [(0, 1, 2, 3), (0, 1, 2, 3), ()]
    first.die(Place("poison", 0, 3))
    assert list(third.inflight) == ["poison"], "where the least is to do"
    third.die(Place("poison", 0, 3))
    reason = "the engine died 2 times while running it, the last time at step 4 of sample 0"
    assert asyncio.run(read(poison)) == [Failed("poison", reason)]
    assert list(second.inflight) == ["fine"]
    finished(second, "fine", 0, 1, 2, 3)
    second.say(Done("fine", 0.0, 0.0))
    assert len(asyncio.run(read(neighbour))) == 5


def test_an_engine_that_comes_later_loads_what_the_others_have() -> None:
    pool = ready()
    late = FakeProcess("late", pool)
    pool.add(late)
    assert [load.model for load in late.loads.wanted.values()] == [KEY, "slow#2"]
    assert late.loads.wanted[KEY].sha256 == MODEL.sha256
    late.get_ready()
    pool.submit(asked("a", n=4))
    pool.submit(asked("b", n=4))
    assert [list(engine.inflight) for engine in pool.engines] == [["a"], ["b"]]


def test_an_engine_whose_images_would_be_others_goes_without_the_model() -> None:
    pool = ready()
    late = FakeProcess("late", pool)
    pool.add(late)
    late.get_ready(replace(MODEL, precision="bfloat16"))
    assert not late.serves(KEY) and late.serves("slow#2")
    assert pool.models.find("m").version.failure is None
    pool.submit(asked("a"))
    assert list(engines(pool)[0].inflight) == ["a"]


def test_an_engine_that_finds_other_weights_goes_without_the_model() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    second.die()
    second.say(Unusable(KEY, "the checkpoint's weights have changed on disk", has_changed=True))
    assert pool.models.state(pool.models.find("m").version) == "ready"
    assert KEY not in second.loads.wanted and first.serves(KEY)


def test_an_engine_that_leaves_does_what_it_has_and_gets_no_more() -> None:
    async def run() -> None:
        pool = ready(num_engines=2)
        first, second = engines(pool)
        with pool.submit(asked("a")) as inflight:
            pool.retire(first)
            assert pool.engines == [second]
            pool.submit(asked("b"))
            assert (list(first.inflight), list(second.inflight)) == (["a"], ["b"])
            finished(first, "a", 0)
            first.say(Done("a", 0.0, 0.0))
            assert len(await read(inflight)) == 2
        await pool.remove(first)
        assert first.calls == ["stop"]

    asyncio.run(run())


def test_a_server_without_engines_has_the_first_that_comes_load_its_models() -> None:
    pool = starting(num_engines=0)
    assert refusal(pool, asked("a"))[0] is NotReady
    pool.add(FakeProcess("first", pool))
    assert list(pool.engines[0].loads.wanted) == [KEY, "slow#2"]


def test_a_faster_engine_is_given_more() -> None:
    pool = ready()
    fast = FakeProcess("fast", pool)
    pool.add(fast)
    steps = {size: seconds / 4 for size, seconds in MODEL.step_seconds.items()}
    fast.get_ready(replace(MODEL, seconds_per_row=MODEL.seconds_per_row / 4, step_seconds=steps))
    pool.submit(asked("a", n=80))
    assert [len(part) for part in parts(pool)] == [16, 64]


def crowded() -> EnginePool:
    """A pool of two engines, each with memory for one of the models, and so with one of them."""
    models = Models([Source("m", "m"), Source("slow", "slow")], 0, 1000, print)
    pool = EnginePool(models, ROOMY)
    for name in ("0", "1"):
        pool.add(FakeProcess(name, pool))
    models.start()
    for _ in range(2):
        for engine in engines(pool):
            engine.get_ready()
    assert [list(engine.loads.wanted) for engine in engines(pool)] == [[KEY], ["slow#2"]]
    return pool


def test_a_model_whose_engine_is_busy_another_one_loads_in_the_place_of_what_nobody_uses() -> None:
    pool = crowded()
    busy, other = engines(pool)
    pool.submit(asked("a", n=80, steps=10))
    assert list(other.loads.wanted) == ["slow#2"], "the work does not wait for long"
    for number in range(20):
        pool.submit(asked(f"b{number}", n=40, steps=50))
    assert list(other.loads.wanted) == [KEY]
    before = len(busy.inflight)
    other.get_ready()
    m, slow = (entry.version for entry in pool.models)
    assert (pool.models.where(m), pool.models.where(slow)) == (["0", "1"], [])
    assert 0 < len(other.inflight) < before, "it takes its share"
    assert refusal(pool, asked("c", model="slow#2"))[0] is NotReady


def test_a_model_whose_only_engine_is_taken_away_is_loaded_by_another() -> None:
    pool = crowded()
    first, second = engines(pool)
    pool.submit(asked("a", model="slow#2"))
    asyncio.run(pool.remove(second))
    assert list(first.loads.wanted) == ["slow#2"], "nobody uses the other one"
    first.get_ready()
    assert list(first.inflight) == ["a"]
    assert first.serves("slow#2") and not first.serves(KEY)


def test_a_new_model_whose_only_engine_is_retired_or_removed_is_loaded_by_another() -> None:
    """It is used by a request that has not come to an engine yet."""
    for taken in ("retire", "remove"):
        pool = crowded()
        version = pool.models.replace(Source("new", "new", 1000)).version
        (loading,) = [engine for engine in engines(pool) if version.key in engine.loads.wanted]
        with pool.models.using(version):
            if taken == "retire":
                pool.retire(loading)
            else:
                asyncio.run(pool.remove(loading))
            assert version.key in pool.engines[0].loads.wanted
