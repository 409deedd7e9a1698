"""Networks come and go while others are served: an engine's threads, over a socket."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine import lane_threads, loader
from app.engine.board import Board
from app.wire.messages import (
    Done,
    Failed,
    Finished,
    Load,
    Loaded,
    Starting,
    Submit,
    Unload,
    Unloaded,
    Unusable,
)
from tests.app.engine.running import Running
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("grey") / "tiny")


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("colour") / "tiny", num_classes=3, channels=3)


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as engine:
        yield engine


def job(name: str, model: str, steps: int = 5) -> Submit:
    return Submit(name, model, 7, (0, 1), None, "ddim", steps)


def test_a_load_is_told_step_by_step_and_in_the_end_what_it_took(
    running: Running, grey: Path
) -> None:
    started = time.monotonic()
    loaded = running.load("grey#1", grey)
    assert isinstance(loaded, Loaded)
    assert (loaded.model, loaded.info.name) == ("grey#1", "name of grey#1")
    assert loaded.info.batch_sizes == (4,)
    assert 0 < loaded.seconds <= time.monotonic() - started
    assert loaded.memory_bytes >= 0
    steps = [told for told in running.told if isinstance(told, Starting)]
    assert len(steps) == len(running.told) >= 3
    assert {step.model for step in steps} == {"grey#1"}
    assert str(steps[0]) == f"loading the checkpoint {grey}"


@pytest.mark.slow
def test_jobs_of_several_networks_have_their_own_bytes(
    running: Running, grey: Path, colour: Path
) -> None:
    running.load("a", grey)
    alone = running.images(job("x", "a"))
    running.load("b", grey)
    running.load("c", colour)
    running.ask(
        job("in b", "b"), job("in a", "a"),
        Submit("in c", "c", 7, (0, 1), (0, 1), "ddim", 5),
    )  # fmt: skip
    for _ in range(3):
        running.hear(Done)
    made = {(m.id, m.index): m.x_0 for m in running.told if isinstance(m, Finished)}
    assert {i: made["in a", i] for i in (0, 1)} == {i: made["in b", i] for i in (0, 1)} == alone
    assert len(made["in c", 0]) == 3 * len(made["in a", 0])


def test_a_job_of_a_model_that_is_not_there_fails(running: Running) -> None:
    running.ask(job("x", "nowhere"))
    assert running.hear(Failed) == Failed("x", "model: 'nowhere' is not loaded")


@pytest.mark.slow
def test_what_cannot_be_loaded_says_why_and_the_others_go_on(
    running: Running, grey: Path, tmp_path: Path
) -> None:
    running.load("a", grey)
    failed = running.load("b", tmp_path / "nothing")
    assert isinstance(failed, Unusable) and not failed.has_changed
    assert f"{tmp_path / 'nothing'}: no such folder" in failed.reason
    assert running.images(job("x", "a"))
    assert isinstance(running.load("b", grey), Loaded), "another try with the same key"


@pytest.mark.slow
def test_other_weights_than_those_asked_for_are_refused(running: Running, grey: Path) -> None:
    sha256 = running.load("a", grey).info.sha256
    assert isinstance(running.load("b", grey, sha256=sha256), Loaded)
    failed = running.load("c", grey, sha256="0" * 64)
    assert failed.has_changed
    assert f"their SHA-256 is {sha256}, and {'0' * 64} is asked for" in failed.reason


def test_a_key_is_that_of_one_model(running: Running, grey: Path) -> None:
    running.load("a", grey)
    assert running.load("a", grey) == Unusable("a", "a is loaded already")


@pytest.mark.slow
def test_a_model_that_is_unloaded_leaves_nothing_and_can_be_loaded_again(
    running: Running, grey: Path
) -> None:
    running.load("a", grey)
    made = running.images(job("x", "a"))
    board = weakref.ref(running.engine.networks["a"].board)
    network = weakref.ref(running.engine.networks["a"])
    running.ask(Unload("a"))
    assert running.hear(Unloaded) == Unloaded("a")
    gc.collect()
    assert board() is None and network() is None
    running.ask(job("y", "a"))
    assert "not loaded" in running.hear(Failed).reason
    running.load("a", grey)
    assert running.images(job("x", "a")) == made


@pytest.mark.slow
def test_jobs_that_are_left_of_a_model_fail_and_no_others(running: Running, grey: Path) -> None:
    running.load("a", grey)
    running.load("b", grey)
    expected = running.images(job("x", "b", steps=50))
    running.ask(job("left", "a", steps=50), job("x", "b", steps=50), Unload("a"), Unload("none"))
    assert running.hear(Failed) == Failed("left", "the model is no longer loaded")
    running.hear(Done)
    made = {m.index: m.x_0 for m in running.told if isinstance(m, Finished) and m.id == "x"}
    assert made == expected
    assert [running.hear(Unloaded).model for _ in range(2)] == ["a", "none"]


def test_a_load_that_fails_for_any_reason_leaves_nothing(
    running: Running, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loader, "load", broken)
    assert running.load("a", grey) == Unusable("a", "MemoryError()")
    assert not running.engine.networks


@pytest.mark.slow
def test_while_a_network_is_loaded_the_others_take_steps(grey: Path) -> None:
    """The board of the second network waits until a job of the first is done."""
    may_go_on, boards = threading.Event(), 0

    def wrap(board: Board[Any]) -> Board[Any]:
        nonlocal boards
        boards += 1
        assert boards == 1 or may_go_on.wait(60)
        return board

    with Running(wrap=wrap) as running:
        running.load("a", grey)
        running.ask(Load("b", str(grey), "b", max_batch=4))
        running.hear(Starting)
        assert len(running.images(job("x", "a", steps=50))) == 2
        may_go_on.set()
        assert running.hear(Loaded).model == "b"


def test_what_hangs_on_the_machine_keeps_the_lanes_from_it_for_a_while_only(
    running: Running, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_threads, "MAX_HOLD_SECONDS", 0.2)
    running.load("a", grey)
    with running.lanes.machine():
        assert len(running.images(job("x", "a"))) == 2


def test_who_holds_the_machine_has_it_alone(running: Running, grey: Path) -> None:
    running.load("a", grey)
    told: list[Any] = []
    running.engine.on_step = lambda _oldest, places: told.append(places)
    running.ask(job("x", "a", steps=50))
    for _ in range(5):
        with running.lanes.machine():
            assert not running.engine.is_at_work
            assert told[-1] == (), "no job is to blame for what happens now"
            begun = len(told)
            time.sleep(0.01)
            assert len(told) == begun, "the lanes rest"
    running.hear(Done)
