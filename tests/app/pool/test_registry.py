"""What is known of the models, and told of them."""

import time
from dataclasses import replace

import pytest

from app.pool.makers import maker
from app.pool.version import Source
from app.wire.messages import Starting
from tests.model_info import MODEL
from tests.served import StubEngine, models_of

A, B = Source("a", "a"), Source("b", "b")


def test_versions_come_with_those_that_serve_first_and_new_ones_last() -> None:
    models, engine = models_of(A, B)
    models.replace(Source("a", "other"))
    engine.is_slow = True
    models.replace(Source("b", "other"))
    assert [version.key for version in models.versions] == ["a#3", "b#2", "a#1"]
    assert [version.key for version in models.all_versions()] == ["a#3", "b#2", "a#1", "b#4"]
    assert models.are_several
    found = models.version("b#4")
    assert found is not None and found.source == Source("b", "other")
    assert models.version("b#5") is None


def test_engines_that_make_other_bytes_leave_nothing_that_names_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    models, first = models_of(A)
    version = models.find("a").version
    x, y = (maker(replace(MODEL, machine=machine)) for machine in "xy")
    first.finish("a#1", machine="x")
    assert models.maker(version) == x
    second, third = (StubEngine(models, is_slow=True) for _ in range(2))
    models.engines = [first, second, third]
    for engine in (second, third):
        models.join(engine)
        assert models.maker(version) == x, "it does not serve yet"
    second.finish("a#1", machine="x")
    assert models.maker(version) == x and "kinds of machines" not in caplog.text
    third.finish("a#1", machine="y")
    assert models.maker(version) is None
    assert [info.machine for info in models.kinds(version)] == ["x", "y"], "more of x"
    assert "engines run a on different kinds of machines" in caplog.text
    for engine in (first, second):
        engine.die()
    assert models.maker(version) == y, "it alone is left"
    models.unload("a")
    assert models.maker(version) is None, "any of them may load it"
    models.engines = []
    assert models.maker(version) == y, "that of the last engine"


def test_while_a_model_is_loaded_its_detail_is_what_the_engine_does() -> None:
    models, engine = models_of(A, B, is_slow=True)
    engine.starting = Starting("b#2", "measuring, round", 2, 8)
    details = {entry.name: models.detail(entry.version) for entry in models}
    assert details == {"a": None, "b": "measuring, round 2 of 8"}


def test_a_load_is_expected_after_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    models, engine = models_of(A, B)
    for name, seconds in (("a", 10.0), ("b", 4.0)):
        models.find(name).version.load_seconds = seconds
        models.unload(name)
    engine.is_slow = True
    models.want(models.find("a").version)
    now[0] += 1.0
    models.want(models.find("b").version)
    assert models.seconds_until(models.find("b").version) == 9 + 4
    assert models.seconds_until(models.find("a").version) == 9
