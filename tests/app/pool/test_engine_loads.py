"""An engine process loads models, beside the steps of others, and again after a death."""

import dataclasses
import json
from pathlib import Path

import pytest

from app.pool import watchdog
from app.pool.errors import NotReady
from app.wire.messages import Done, Limited, Load, Starting, Unload, Unusable
from app.wire.model_info import ModelInfo
from app.wire.options import AUTO
from tests.app.pool.engine_processes import (
    KEY,
    LOAD,
    LOADED,
    fake,
    heard,
    job,
    kill,
    loads,
    pictures,
    read,
    script,
    started,
    submitted,
    until,
)
from tests.model_info import MODEL
from tests.tiny import save_tiny

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("impatient")]


async def test_a_model_that_cannot_be_loaded_again_is_told_and_the_process_goes_on(
    tmp_path: Path,
) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, Unusable(KEY, "the disk is away"))
        inflight = submitted(engine, job("a", n=1, steps=1))
        kill(engine)
        await until(lambda: told.rejected)
        assert told.rejected == [Unusable(KEY, "the disk is away")]
        assert (engine.restarts, told.unusable, engine.loads.wanted) == (1, [], {})
        assert list(engine.inflight) == ["a"], "it waits for what is said of it"
        engine.fail(KEY, "the disk is away for good")
        with pytest.raises(NotReady, match="^the disk is away for good$"):
            await read(inflight)


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("the checkpoint's weights have changed on disk", dataclasses.replace(MODEL, sha256="1")),
        (
            "the checkpoint's configuration has changed on disk",
            dataclasses.replace(MODEL, fingerprint="1"),
        ),
        ("the runtime has changed", dataclasses.replace(MODEL, runtime="openvino")),
    ],
)
async def test_a_model_that_is_another_after_a_death_is_not_used(
    change: str, other: ModelInfo, tmp_path: Path
) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, dataclasses.replace(LOADED, info=other))
        kill(engine)
        await until(lambda: told.rejected)
        assert told.rejected == [Unusable(KEY, change, has_changed=True)]
        assert not engine.serves(KEY)
        await until(lambda: Unload(KEY) in heard(tmp_path))


async def test_a_model_is_loaded_beside_the_steps_of_another_and_serves_then() -> None:
    async with started(fake(load_seconds=0.3)) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.load(Load("c#1", "cifar10", "c"))
        made = pictures(await read(submitted(engine, job("a", n=1, steps=2))))
        assert set(made) == {(0, None)} and not engine.serves("c#1")
        await until(lambda: engine.serves("c#1"))
        other = dataclasses.replace(job("b", n=1, steps=2), model="c#1")
        assert pictures(await read(submitted(engine, other))) != made
        assert [loaded.model for loaded in told.loaded] == [KEY, "c#1"]


async def test_the_next_process_loads_all_models_first_what_jobs_need() -> None:
    async with started(fake(load_seconds=0.1)) as (engine, told):
        engine.load(Load("c#1", "cifar10", "c"))
        await until(lambda: engine.serves("c#1"))
        other = dataclasses.replace(job("b", n=1, steps=100), model="c#1")
        inflight = submitted(engine, other)
        kill(engine)
        assert set(pictures(await read(inflight))) == {(0, None)}
        await until(lambda: len(told.loaded) == 4)
        assert [loaded.model for loaded in told.loaded] == [KEY, "c#1", "c#1", KEY]


async def test_a_model_that_is_unloaded_can_be_loaded_again() -> None:
    async with started(fake()) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.unload(KEY)
        assert not engine.serves(KEY)
        engine.load(LOAD)
        await until(lambda: engine.serves(KEY))
        assert len(told.loaded) == 2
        await read(submitted(engine, job("a", n=1, steps=2)))


async def test_a_load_that_is_not_wanted_any_more_is_undone_when_it_ends(tmp_path: Path) -> None:
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, _):
        await until(lambda: engine.starting)
        engine.unload(KEY)
        engine._handle(LOADED)
        await until(lambda: Unload(KEY) in heard(tmp_path))
        assert not engine.serves(KEY)


@pytest.mark.slow
async def test_a_load_that_kills_the_engine_again_and_again_is_given_up_and_others_go_on(
    tmp_path: Path,
) -> None:
    killer = save_tiny(tmp_path / "killer")
    card = killer / "model_card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "data": "crash"}))
    async with started(fake(load_seconds=0.1)) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.load(Load("killer#1", str(killer), "killer"))
        events = await read(submitted(engine, job("a", n=8, steps=300)))
        assert isinstance(events[-1], Done), "the job that ran beside it is not blamed"
        await until(lambda: told.rejected)
        reason = "the engine died 3 times while it was loading it"
        assert told.rejected == [Unusable("killer#1", reason)] and told.are_deadly
        assert (engine.restarts, told.deaths, told.unusable) == (3, 3, [])
        await until(lambda: engine.serves(KEY))


async def test_a_load_that_hangs_is_killed_by_a_clock_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "START_SECONDS", 0.5)
    async with started(fake(load_seconds=600.0), hang_seconds=600.0) as (engine, _):
        await until(lambda: engine.hangs)


async def test_memory_that_ran_out_makes_the_batches_smaller_for_good(tmp_path: Path) -> None:
    async with started(script(tmp_path, LOADED, Limited(KEY, 4))) as (engine, _):
        await until(lambda: engine.memory_limits)
        assert engine.max_batch == {"m": 4}
        assert engine.loads.wanted[KEY].max_batch == 4, "for the next process"


async def test_what_an_engine_chooses_as_its_largest_batch_the_next_process_has_too(
    tmp_path: Path,
) -> None:
    load = dataclasses.replace(LOAD, max_batch=AUTO)
    async with started(script(tmp_path, LOADED), load=load) as (engine, _):
        await until(lambda: engine.is_ready)
        kill(engine)
        await until(lambda: engine.restarts and engine.is_ready)
    assert [load.max_batch for load in loads(tmp_path)] == [AUTO, MODEL.batch_sizes[-1]]
