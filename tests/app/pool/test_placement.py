"""Which engines load which models: engines that do as they are told."""

import itertools
import time

import pytest

from app.pool.models import Models
from app.pool.version import Source
from tests.app.pool.test_models import A, B, C, refused, states, use
from tests.served import StubEngine


def fleet(*sources: Source, max_bytes: int, engines: int = 2) -> tuple[Models, list[StubEngine]]:
    """Models with several engines, all of whose models take 100 bytes."""
    models = Models(sources, 0, max_bytes, print, 4)
    made = [small_engine(models, str(number)) for number in range(engines)]
    models.engines = made
    models.start()
    return models, made


def small_engine(models: Models, name: str) -> StubEngine:
    engine = StubEngine(models, name=name, is_slow=False)
    engine.memory_bytes = dict.fromkeys("abc", 100)
    return engine


def where(models: Models) -> dict[str, list[str]]:
    return {entry.name: models.where(entry.version) for entry in models}


def test_engines_with_room_have_every_model() -> None:
    models, _ = fleet(A, B, max_bytes=200)
    assert where(models) == {"a": ["0", "1"], "b": ["0", "1"]}


def test_without_room_for_all_each_engine_has_what_was_asked_for_last() -> None:
    models, engines = fleet(A, B, C, max_bytes=200)
    assert where(models) == {"a": ["0", "1"], "b": ["1"], "c": ["0"]}
    use(models, "a")
    use(models, "c")
    models.refusal(models.find("b").version)
    assert where(models)["b"] == ["1"], "it is there"
    models, engines = fleet(A, B, C, max_bytes=100)
    assert sorted(sum(where(models).values(), [])) == ["0", "1"]


@pytest.mark.parametrize("order", sorted(set(map("".join, itertools.permutations("0011")))))
def test_no_model_is_lost_when_it_turns_out_that_they_do_not_fit_together(order: str) -> None:
    """Their sizes are known when they are loaded, which the engines do in any order."""
    models = Models([Source("a", "a"), Source("b", "b")], 0, 100, print, 4)
    models.engines = engines = [StubEngine(models, name=name, is_slow=True) for name in "01"]
    for engine in engines:
        engine.memory_bytes = {"a": 40, "b": 100}
    models.start()
    for name in order:
        loads = engines[int(name)].loads
        missing = [model for model in loads.wanted if model not in loads.loaded]
        if missing:
            engines[int(name)].finish(missing[0])
    assert sorted(sum(where(models).values(), [])) == ["0", "1"]


def test_a_model_takes_the_place_that_was_used_least_recently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = [1000.0]
    monkeypatch.setattr(time, "time", lambda: at[0])
    models, engines = fleet(A, B, C, max_bytes=100)
    before = where(models)
    (missing,) = [name for name, names in before.items() if not names]
    first, second = [name for name in "abc" if name != missing]
    for name in (first, second):
        at[0] += 1
        use(models, name)
    models.refusal(models.find(missing).version)
    assert where(models) == {missing: before[first], first: [], second: before[second]}


def test_a_model_in_use_stays_where_its_jobs_are() -> None:
    models, engines = fleet(A, B, max_bytes=100)
    (of_a,) = where(models)["a"]
    (of_b,) = where(models)["b"]
    with models.using(models.find("a").version), models.using(models.find("b").version):
        models.replace(C)
        assert states(models)["c"] == "loading"
    assert where(models)["c"] in ([of_a], [of_b])
    assert len(engines[int(of_a)].loads.loaded) == len(engines[int(of_b)].loads.loaded) == 1


def test_a_model_that_others_have_may_leave_an_engine_unless_it_has_jobs_of_it() -> None:
    models, engines = fleet(A, max_bytes=100)
    assert where(models) == {"a": ["0", "1"]}
    engines[0].busy.add("a#1")
    with models.using(models.find("a").version):
        models.replace(B)
        assert where(models) == {"a": ["0"], "b": ["1"]}


def test_another_engine_loads_what_is_busy_in_the_place_of_what_nobody_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = [1000.0]
    monkeypatch.setattr(time, "time", lambda: at[0])
    models, engines = fleet(A, B, max_bytes=100)
    a, b = (models.find(name).version for name in "ab")
    (of_b,) = models.where(b)
    use(models, "b")
    models.spread(a, [engines[int(of_b)]])
    assert models.where(b) == [of_b], "it has just been used"
    at[0] += 31.0
    models.spread(a, [engines[int(of_b)]])
    assert (models.where(a), states(models)["b"]) == (["0", "1"], "unloaded")
    assert refused(models, "b")[0].startswith("the model b is being loaded")
    assert len(models.where(a)) == len(models.where(b)) == 1


def test_an_engine_that_comes_loads_what_fits_the_last_used_first() -> None:
    models, engines = fleet(A, B, max_bytes=100)
    use(models, "b")
    new = small_engine(models, "2")
    models.engines = [*engines, new]
    models.join(new)
    assert new.told == ["load b#2"]
