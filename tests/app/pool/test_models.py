"""Which versions of which models are loaded: an engine that does as it is told."""

import asyncio
import time

import pytest

from app.pool import retries
from app.pool.errors import CannotLoad, UnknownModel
from app.pool.loads import TRIES
from app.pool.models import MAX_RETIRED, Models
from app.pool.registry import RESIDENT_SECONDS
from app.pool.version import Source
from tests.served import StubEngine, models_of

A, B, C = (Source(name, f"folder {name}", 100) for name in "abc")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only the test changes."""
    at = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


def states(models: Models) -> dict[str, str]:
    return {entry.name: models.state(entry.version) for entry in models}


def refused(models: Models, name: str) -> tuple[str, int | None]:
    """What a request for the model is told."""
    version = models.find(name).version
    with models.using(version):
        refusal = models.refusal(version)
    return str(refusal), refusal.retry_after


def use(models: Models, name: str) -> None:
    with models.using(models.find(name).version):
        pass


def test_the_first_is_the_default_and_all_are_loaded_in_their_order() -> None:
    models, engine = models_of(A, B)
    assert engine.told == ["load a#1", "load b#2"]
    assert models.find(None) is models.default is models.find("a")
    assert states(models) == {"a": "ready", "b": "ready"}
    with pytest.raises(UnknownModel, match="^there is no model 'x': this server has a, b$"):
        models.find("x")


def test_it_is_ready_when_each_has_been_loaded_once() -> None:
    models, engine = models_of(A, B, is_slow=True)
    engine.finish("a#1")
    assert not models.has_been_ready.is_set()
    engine.finish("b#2")
    assert models.has_been_ready.is_set()


def test_one_that_is_unloaded_before_it_was_loaded_is_not_waited_for() -> None:
    models, engine = models_of(A, B, is_slow=True)
    models.unload("b")
    assert not models.has_been_ready.is_set()
    engine.finish("a#1")
    assert models.has_been_ready.is_set()


def test_what_is_unloaded_while_it_waits_for_memory_waits_no_more() -> None:
    models, engine = sized(100, a=100, b=100)
    with models.using(models.find("a").version):
        refused(models, "b")
        models.unload("b")
        assert states(models)["b"] == "unloaded"
    assert states(models) == {"a": "ready", "b": "unloaded"}


def test_the_server_goes_on_while_a_new_version_is_loaded_for_one_that_is_lost() -> None:
    told: list[str] = []
    models, engine = models_of(A, is_slow=True, on_unusable=told.append)
    engine.finish("a#1")
    models.replace(Source("a", "a", 100))
    engine.die()
    engine.reject("a#1", "the weights have changed", has_changed=True)
    assert told == []
    assert refused(models, "a")[0] == "the model a is being loaded"
    engine.reject("a#2", "no memory")
    assert told == ["no memory; restart the server"]


def test_a_version_in_use_is_kept_however_often_its_model_is_replaced() -> None:
    models, engine = models_of(A)
    with models.using(models.find("a").version) as first:
        for number in range(MAX_RETIRED + 5):
            models.replace(Source("a", f"folder {number}"))
        assert engine.serves(first.key)
    assert not engine.serves(first.key)
    assert len(models.versions) <= MAX_RETIRED + 2
    assert len(engine.loads.known) == len(models.versions)


def test_it_is_loaded_again_from_where_the_version_came_from_that_serves() -> None:
    models, engine = models_of(A, is_slow=True)
    engine.finish("a#1")
    assert (models.checkpoint("a"), models.checkpoint("new")) == ("folder a", "new")
    models.replace(Source("a", "/cache/1", asked="owner/name"))
    assert models.checkpoint("a") == "owner/name"
    engine.reject("a#2", "no such folder")
    assert models.checkpoint("a") == "folder a"


def test_one_that_cannot_be_loaded_at_the_start_ends_the_server() -> None:
    told: list[str] = []
    _, engine = models_of(A, B, is_slow=True, on_unusable=told.append)
    engine.finish("a#1")
    engine.reject("b#2", "no such folder")
    assert told == ["no such folder"]


def test_one_that_is_unloaded_is_loaded_when_it_is_asked_for(now: list[float]) -> None:
    models, engine = models_of(A, B)
    models.unload("b")
    assert (engine.told[-1], states(models)["b"]) == ("unload b#2", "unloaded")
    engine.is_slow = True
    assert refused(models, "b") == ("the model b is being loaded", 2)
    now[0] += 1.5
    assert refused(models, "b") == ("the model b is being loaded", 1)
    assert engine.told[-1] == "load b#2"
    engine.finish("b#2")
    assert states(models)["b"] == "ready"


def test_it_is_unloaded_when_its_last_request_is_over() -> None:
    models, engine = models_of(A, B)
    version = models.find("b").version
    with models.using(version):
        models.unload("b")
        assert version.is_leaving and engine.told[-1] == "load b#2"
        assert models.detail(version) == "it is unloaded when its last image is made"
    assert engine.told[-1] == "unload b#2"


def test_one_that_is_asked_for_while_it_is_leaving_is_loaded_again_after_that() -> None:
    models, engine = models_of(A, B)
    with models.using(models.find("b").version):
        models.unload("b")
        assert refused(models, "b") == ("the model b is unloaded, and then loaded again", 2)
        assert engine.told[-1] == "load b#2"
    assert engine.told[-2:] == ["unload b#2", "load b#2"]


def test_a_new_version_serves_when_it_is_warm_and_the_old_one_ends_with_its_last_request() -> None:
    models, engine = models_of(A, is_slow=True)
    engine.finish("a#1")
    entry = models.find("a")
    with models.using(entry.version):
        models.replace(Source("a", "other"))
        assert (entry.version.key, models.state(entry.version)) == ("a#1", "ready")
        assert engine.told[-1] == "load a#2"
        engine.finish("a#2", sha256="2")
        assert entry.version.key == "a#2" and entry.replacement is None
        assert engine.serves("a#1")
    assert engine.told[-1] == "unload a#1"


def test_a_new_version_was_used_when_the_old_one_was() -> None:
    models, _ = models_of(A)
    use(models, "a")
    used_at = models.find("a").version.used_at
    models.replace(Source("a", "other"))
    assert models.find("a").version.key == "a#2"
    assert models.find("a").version.used_at == used_at is not None


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one() -> None:
    models, engine = models_of(A, is_slow=True)
    engine.finish("a#1")
    entry = models.replace(Source("a", "other"))
    engine.reject("a#2", "not a checkpoint")
    assert (entry.version.key, states(models)) == ("a#1", {"a": "ready"})
    assert entry.replacement is not None
    assert models.detail(entry.replacement) == "not a checkpoint"
    models.replace(Source("a", "third"))
    engine.finish("a#3")
    assert entry.version.key == "a#3"
    assert states(models) == {"a": "ready"}


def test_requests_for_one_that_is_unloaded_wait_for_its_new_version() -> None:
    models, engine = models_of(A, B, is_slow=True)
    engine.finish("a#1")
    engine.finish("b#2")
    models.unload("b")
    models.replace(Source("b", "other"))
    assert refused(models, "b")[0] == "the model b is being loaded"
    assert engine.told[-1] == "load b#3", "not the old one"


def test_a_new_name_is_a_new_model_up_to_the_limit() -> None:
    models, engine = models_of(A, B, C)
    models.replace(Source("d", "d"))
    assert models.names == ["a", "b", "c", "d"] and engine.serves("d#4")
    with pytest.raises(CannotLoad, match="^this server has 4 models, and has room for no other$"):
        models.replace(Source("e", "e"))


def test_a_new_model_that_never_worked_can_be_forgotten() -> None:
    models, engine = models_of(A, is_slow=True)
    engine.finish("a#1")
    models.replace(Source("typo", "folder"))
    engine.reject("typo#2", "no such folder")
    assert refused(models, "typo")[0] == "the model typo cannot be loaded: no such folder"
    models.unload("typo")
    assert models.names == ["a"]


def test_one_that_has_just_failed_is_not_tried_at_once(now: list[float]) -> None:
    models, engine = models_of(A, is_slow=True)
    engine.finish("a#1")
    models.replace(Source("b", "b"))
    engine.reject("b#2", "no memory")
    now[0] += 10
    assert refused(models, "b") == ("the model b cannot be loaded: no memory", 20)
    assert engine.told[-1] != "load b#2"
    now[0] += 21
    assert refused(models, "b") == ("the model b is being loaded", 2)
    assert engine.told[-1] == "load b#2"


def test_one_that_was_loaded_before_is_tried_again_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "AGAIN_SECONDS", (0.0,))

    async def run() -> list[str]:
        told: list[str] = []
        models, engine = models_of(A, B, is_slow=True, on_unusable=told.append)
        engine.finish("a#1")
        engine.finish("b#2")
        engine.die()
        engine.finish("a#1")
        for _ in range(TRIES):
            engine.reject("b#2", "no memory")
            await asyncio.sleep(0.01)
        assert told == []
        assert states(models) == {"a": "ready", "b": "unloaded"}
        assert refused(models, "b")[0] == "the model b cannot be loaded: no memory"
        return engine.told

    assert asyncio.run(run())[-3:] == [
        "load b#2", "load b#2", "fail b#2: the model b cannot be loaded: no memory"
    ]  # fmt: skip


def test_the_only_one_is_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "AGAIN_SECONDS", (0.0,))

    async def run() -> None:
        models, engine = models_of(A, is_slow=True)
        engine.finish("a#1")
        engine.die()
        for _ in range(2 * TRIES):
            engine.reject("a#1", "no memory")
            assert states(models) == {"a": "loading"}
            assert models.detail(models.default.version) == "no memory"
            await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize("what", ["unload", "replace"])
def test_what_a_job_waits_for_is_tried_again_whatever_becomes_of_its_model(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(retries, "AGAIN_SECONDS", (0.0,))

    async def run() -> None:
        models, engine = models_of(A, is_slow=True)
        engine.finish("a#1")
        with models.using(models.find("a").version):
            engine.die()
            engine.reject("a#1", "no memory")
            if what == "unload":
                models.unload("a")
            else:
                models.replace(Source("a", "other"))
                engine.finish("a#2")
            await asyncio.sleep(0.01)
            assert engine.told[-1] == "load a#1"
            engine.finish("a#1")
        assert engine.told[-1] == "unload a#1"

    asyncio.run(run())


def test_weights_that_have_changed_on_disk_are_given_up_at_once() -> None:
    told: list[str] = []
    models, engine = models_of(A, B, on_unusable=told.append)
    engine.die()
    engine.reject("b#2", "the weights have changed", has_changed=True)
    assert models.find("b").version.is_lost
    assert told == []
    engine.reject("a#1", "the weights have changed", has_changed=True)
    assert told == ["the weights have changed; restart the server"], "there is nothing else"


def test_a_replaced_version_stays_for_jobs_and_is_loaded_again_for_them() -> None:
    models, engine = models_of(A)
    old = models.find("a").version
    models.note_jobs({"a#1"})
    models.replace(Source("a", "other"))
    assert engine.serves("a#1") and engine.serves("a#2")
    assert models.versions[1] is old
    models.note_jobs(set())
    assert engine.told[-1] == "unload a#1"
    models.note_jobs({"a#1"})
    models.want(old)
    assert engine.serves("a#1")


def test_a_replaced_version_whose_weights_are_gone_is_lost() -> None:
    models, engine = models_of(A)
    old = models.find("a").version
    models.replace(Source("a", "other"))
    models.note_jobs({"a#1"})
    engine.is_slow = True
    models.want(old)
    engine.reject("a#1", "the weights have changed", has_changed=True)
    assert old.is_lost and states(models) == {"a": "ready"}


# --model-memory


def sized(max_bytes: int, is_slow: bool = False, **sizes: int) -> tuple[Models, StubEngine]:
    """Models that take so many bytes, of which nothing is known before they are loaded."""
    models, engine = models_of(
        *(Source(name, name) for name in sizes), max_bytes=max_bytes, is_slow=True
    )
    engine.memory_bytes = dict(sizes)
    for version in models.versions:
        engine.finish(version.key)
    engine.is_slow = is_slow
    return models, engine


def test_at_the_start_the_first_ones_stay() -> None:
    models, _ = sized(200, a=100, b=100, c=100)
    assert states(models) == {"a": "ready", "b": "ready", "c": "unloaded"}
    assert models.has_been_ready.is_set(), "each has been loaded once"


def test_the_least_recently_used_makes_room() -> None:
    models, engine = sized(200, a=100, b=100, c=100)
    use(models, "b")
    refused(models, "c")
    assert engine.told[-2:] == ["unload a#1", "load c#3"]
    refused(models, "a")
    assert engine.told[-2:] == ["unload b#2", "load a#1"]


def test_nobody_loses_a_model_in_use_and_who_needs_another_waits() -> None:
    models, engine = sized(200, a=100, b=100, c=100)
    with models.using(models.find("a").version), models.using(models.find("b").version):
        assert refused(models, "c")[0] == (
            "the model c is being loaded: waits for memory that other models take"
        )
        assert states(models)["c"] == "loading"
    assert "load c#3" in engine.told
    assert states(models)["c"] == "ready"


def test_what_can_never_fit_is_refused_with_both_figures() -> None:
    models, engine = sized(300 << 20, a=200 << 20, is_slow=True)
    models.replace(Source("large", "large", 400 << 20))
    assert refused(models, "large")[0] == (
        "the model large cannot be loaded: it takes 400 MiB of memory, and --model-memory is "
        "300 MiB"
    )
    assert "load large#2" not in engine.told
    models.replace(Source("larger", "larger", 100 << 20))
    engine.memory_bytes["larger"] = 500 << 20
    engine.finish("larger#3")
    assert "it takes 500 MiB of memory" in refused(models, "larger")[0]
    assert states(models)["a"] == "ready"


def test_a_replacement_that_does_not_fit_beside_the_old_version_is_refused() -> None:
    models, _ = sized(300 << 20, a=200 << 20)
    entry = models.replace(Source("a", "other", 200 << 20))
    assert states(models) == {"a": "ready"}
    assert entry.replacement is not None
    assert str(models.detail(entry.replacement)) == (
        "it takes 200 MiB of memory, and --model-memory is 300 MiB, beside the 200 MiB of the "
        "version that it is to replace: unload that before"
    )


def test_jobs_do_not_take_a_model_from_other_jobs_before_it_has_had_its_time(
    now: list[float],
) -> None:
    models, engine = sized(100, a=100, b=100)
    models.note_jobs({"a#1", "b#2"})
    models.want(models.find("b").version)
    assert states(models)["a"] == "ready" and models.is_free(models.find("a").version)
    now[0] += RESIDENT_SECONDS + 1
    assert not models.is_free(models.find("a").version), "no new turn: it makes room"
    use(models, "a")
    assert engine.told[-2:] == ["unload a#1", "load b#2"]


def test_what_is_counted_of_a_model_goes_on_when_it_is_replaced() -> None:
    models, _ = models_of(A)
    models.replace(Source("a", "other"))
    (counts,) = models.counts()
    assert (counts.name, counts.is_loaded, counts.loads, counts.memory_bytes) == (
        "a", True, 2, 1000
    )  # fmt: skip


def test_a_model_that_has_fitted_is_not_given_up_for_a_larger_figure_of_the_next_engine() -> None:
    models, engine = models_of(A, B, max_bytes=1500)
    assert models.find("a").version.memory_bytes == 1000
    engine.die()
    engine.memory_bytes["a"] = 2000
    engine.finish("a#1")
    assert models.find("a").version.memory_bytes == 1500
    assert states(models)["a"] == "ready"


def test_without_an_engine_nothing_is_loaded_until_somebody_asks(now: list[float]) -> None:
    models, engine = models_of(A, B)
    models.engines = []  # it has been idle, and is gone
    assert (models.awaits_engine, models.is_resting) == (True, False)
    models.rest()
    assert (models.awaits_engine, models.is_resting) == (False, True)
    assert states(models) == {"a": "unloaded", "b": "unloaded"}
    assert models.info(models.find("a").version).name == "a", "what it is like is still known"
    reason, seconds = refused(models, "a")
    assert reason == "the model a is being loaded: waits for an engine"
    assert (seconds, models.awaits_engine) == (2, True), "the load alone: no engine ever came"
    now[0] += 5.0
    new = StubEngine(models, is_slow=False)
    models.engines = [new]
    models.join(new)
    assert new.told == ["load a#1"]
    models.engines = []
    models.rest()
    now[0] += 60.0
    assert refused(models, "a")[1] == 2 + 3, "the last engine came after three seconds"
    now[0] += 1.0
    assert refused(models, "a")[1] == 4


def test_the_first_engine_of_all_tells_how_long_one_takes_to_come(now: list[float]) -> None:
    models = Models([A, B], 4, 0, lambda _: None)
    models.start()
    assert models.awaits_engine, "a server that may have no engine has it started"
    now[0] += 22.0
    first = StubEngine(models, is_slow=True)
    models.engines = [first]
    models.join(first)
    now[0] += 2.0
    first.finish("a#1", seconds=2.0)
    now[0] += 3.0
    first.finish("b#2", seconds=3.0)
    models.engines = []
    models.rest()
    now[0] += 60.0
    assert refused(models, "b")[1] == 22 + 3


def test_what_is_in_use_waits_for_the_next_engine() -> None:
    models, _ = models_of(A)
    with models.using(models.find("a").version):
        models.engines = []
        models.rest()
        assert models.awaits_engine


def test_a_server_is_idle_since_a_model_was_used_last(now: list[float]) -> None:
    models, _ = models_of(A)
    with models.using(models.find("a").version):
        now[0] += 7.0
        assert models.idle_seconds == 0.0
    now[0] += 3.0
    assert models.idle_seconds == 3.0
