"""Which engines load which models: engines that do as they are told."""

import contextlib
import itertools
import random
import time
from collections.abc import Iterator

import pytest

from app.pool.models import Models
from app.pool.registry import Entry
from app.pool.version import Source, Version
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


class Users:
    """Those who use versions, and keep them loaded."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._users: list[tuple[Version, contextlib.ExitStack]] = []

    def __iter__(self) -> Iterator[Version]:
        return (version for version, _ in self._users)

    def come(self, version: Version) -> None:
        self._users.append((version, contextlib.ExitStack()))
        self._users[-1][1].enter_context(self._models.using(version))

    def go(self, version: Version) -> None:
        number = list(self).index(version)
        self._users.pop(number)[1].close()


def crowded() -> tuple[Models, list[StubEngine], Users, Version]:
    """Models of which one is used that has left with its engine, and waits for the memory of
    another that is used."""
    models, engines = fleet(A, B, max_bytes=100)
    a, b = (models.find(name).version for name in "ab")
    users = Users(models)
    users.come(a)
    users.come(b)
    (gone,) = models.where(a)
    leave(models, engines, gone)
    assert models.detail(a) == "waits for memory that other models take"
    return models, engines, users, a


def leave(models: Models, engines: list[StubEngine], name: str) -> StubEngine:
    (gone,) = [engine for engine in engines if engine.name == name]
    engines.remove(gone)
    models.leave()
    return gone


def test_what_is_used_and_waits_for_memory_comes_although_somebody_unloads_it() -> None:
    models, _, users, a = crowded()
    models.unload("a")
    users.go(models.find("b").version)
    assert models.state(a) == "ready"
    users.go(a)
    assert states(models) == {"a": "unloaded", "b": "unloaded"}


def test_what_was_unloaded_does_not_come_when_nobody_uses_it_any_more() -> None:
    models, _, users, a = crowded()
    models.unload("a")
    users.go(a)
    users.go(models.find("b").version)
    assert states(models) == {"a": "unloaded", "b": "ready"}


def test_a_replacement_that_only_an_engine_loads_that_leaves_others_load() -> None:
    models, engines = fleet(A, B, max_bytes=200)
    for engine in engines:
        engine.is_slow = True
    models.replace(A)
    (loading,) = [engine for engine in engines if "a#3" in engine.loads.wanted]
    leave(models, engines, loading.name)
    (other,) = engines
    loading.finish("a#3")
    assert models.find("a").version.key == "a#1", "no engine that stays has the new version"
    other.finish("a#3")
    assert models.find("a").version.key == "a#3"


def test_what_is_used_and_only_an_engine_loads_that_leaves_others_load() -> None:
    models, engines, users, a = crowded()
    loading = StubEngine(models, name="2", is_slow=True)
    engines.append(loading)
    models.join(loading)
    assert a.key in loading.loads.wanted, "it need not wait for the other's memory any more"
    leave(models, engines, "2")
    users.go(models.find("b").version)
    assert models.state(a) == "ready"


def test_a_server_is_ready_although_the_engine_leaves_that_was_to_load_the_last_model() -> None:
    models = Models([A, B], 0, 100, print, 4)
    models.engines = engines = [StubEngine(models, name=name, is_slow=True) for name in "01"]
    for engine in engines:
        engine.memory_bytes = dict.fromkeys("ab", 100)
    models.start()
    engines[0].finish("a#1")
    (of_b,) = [engine for engine in engines if "b#2" in engine.loads.wanted]
    (of_a,) = [engine for engine in engines if "a#1" in engine.loads.wanted]
    of_a.finish("a#1")
    assert not models.has_been_ready.is_set()
    leave(models, engines, of_b.name)
    assert models.has_been_ready.is_set()


class Play:
    """What people, models and engines do, in any order: of models of any size, which is known when
    they are loaded."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._sizes = {name: self._random.choice((10, 30, 50, 60, 90, 100)) for name in "abcd"}
        self.models = Models([Source(name, name) for name in self._sizes], 0, 100, print, 4)
        self.engines = [self._engine() for _ in range(self._random.randint(1, 3))]
        self.models.engines = self.engines
        self.users = Users(self.models)
        self.models.start()

    def move(self) -> None:
        moves = [self.finish] * 4 + [self.ask] * 3 + [self.go] * 2
        moves += [self.die, self.join, self.leave, self.replace, self.unload]
        self._random.choice(moves)()

    def finish(self) -> None:
        loading = [
            (engine, key)
            for engine in self.engines
            for key in engine.loads.wanted
            if key not in engine.loads.loaded
        ]
        if loading:
            engine, key = self._random.choice(loading)
            had = {version for version in self.users if self.models.state(version) == "ready"}
            engine.finish(key)
            assert all(self.models.state(version) == "ready" for version in had)

    def ask(self) -> None:
        self.request(self._any().version)

    def request(self, version: Version) -> None:
        self.users.come(version)
        if self.models.state(version) != "ready" or version.is_leaving:
            self.models.refusal(version)
            self.users.go(version)

    def go(self) -> None:
        able = [version for version in self.users if self.models.state(version) == "ready"]
        if able:
            self.users.go(self._random.choice(able))

    def die(self) -> None:
        self._random.choice(self.engines).die()

    def join(self) -> None:
        if len(self.engines) < 3:
            self.engines.append(self._engine())
            self.models.join(self.engines[-1])

    def leave(self) -> None:
        if len(self.engines) > 1:
            leave(self.models, self.engines, self._random.choice(self.engines).name)

    def replace(self) -> None:
        self.models.replace(self._any().version.source)

    def unload(self) -> None:
        self.models.unload(self._any().name)

    def rest(self) -> None:
        """Nobody asks for anything any more."""
        for _ in range(200):
            self.finish()
            self.go()

    def _any(self) -> Entry:
        return self._random.choice(list(self.models))

    def _engine(self) -> StubEngine:
        engine = StubEngine(self.models, name=str(self._random.random()), is_slow=True)
        engine.memory_bytes = self._sizes
        return engine


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_what_is_asked_for_comes_and_what_is_used_stays(seed: int) -> None:
    play = Play(seed)
    for _ in range(50):
        play.move()
    play.rest()
    models = play.models
    assert not list(play.users), "each had what it waited for"
    assert not any(map(models.is_to_come, models.all_versions())), "nothing is left to be loaded"
    assert all(entry.replacement is None for entry in models)
    for entry in models:
        play.request(entry.version)
        play.rest()
        assert models.state(entry.version) == "ready"
        for engine in play.engines:
            held = [v.least_bytes for v in models.all_versions() if v.key in engine.loads.wanted]
            assert sum(held) <= 100
