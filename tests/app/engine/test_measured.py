"""What an engine has measured is kept for the next start, which looks again at the bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine import measured as measured_module
from app.engine.latency_curve import LatencyCurve
from app.engine.measured import Measurements, Warm, machine_digest, warm_up
from app.engine.runner import Runner
from app.engine.warmup import Timing
from diffusion.file_cache import FileCache
from tests.app.engine.conftest import Bench

CURVE = LatencyCurve({4: 1.0, 8: 1.5})


class Start:
    """Starts of an engine, with the figures that they find; counts how often these are measured."""

    def __init__(self, bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.folder = folder
        self.timing = Timing(CURVE, is_settled=True)
        # Those that agree, by whether they are known from an earlier start
        self.sizes: dict[bool, tuple[int, ...]] = {
            False: (4, 8),
            True: (4, 8),
        }
        self.threads = 2
        self.measurements = 0
        monkeypatch.setattr(measured_module, "step_seconds", self._measure)
        monkeypatch.setattr(measured_module, "invariant_sizes", self._agree)

    def _measure(self, *_args: Any, **_options: Any) -> Timing:
        self.measurements += 1
        return self.timing

    def _agree(
        self, _runtime: Any, _model: Any, _tell: Any, known: Any = (), **_: Any
    ) -> tuple[int, ...]:
        return self.sizes[bool(known)]

    def __call__(self) -> Warm:
        bench = self.bench
        bench.runtime.keep((4, 8))
        kept = Measurements(str(self.folder), bench.checkpoint, bench.runtime, self.threads)

        def make_runner(sizes: tuple[int, ...]) -> Runner:
            return Runner(bench.runtime, sizes, bench.shape, 1.0, None)

        return warm_up(bench.process, bench.model, bench.runtime, make_runner, kept)

    def file(self) -> Path:
        (file,) = (self.folder / "speed").iterdir()
        return file


@pytest.fixture
def start(unconditional: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(unconditional, tmp_path, monkeypatch)


def test_the_second_start_measures_nothing_and_is_like_the_first(start: Start) -> None:
    first, second = start(), start()
    assert start.measurements == 1
    for warm in (first, second):
        assert warm.curve.sizes == warm.board.batch_sizes == (4, 8)
        assert [warm.measured.seconds(size) for size in warm.measured.sizes] == [1.0, 1.5]
        assert warm.is_invariant


def test_only_the_sizes_worth_having_are_looked_at_again(start: Start) -> None:
    start.timing = Timing(LatencyCurve({4: 1.0, 8: 2.5}), is_settled=True)
    start.sizes[True] = (4,)
    assert [start().curve.sizes for _ in range(2)] == [(4,), (4,)]
    assert start.measurements == 1


def test_where_the_bytes_are_no_longer_the_same_everything_is_measured_anew(start: Start) -> None:
    start()
    start.sizes = {True: (4,), False: (4,)}
    start.timing = Timing(LatencyCurve({4: 1.0}), is_settled=True)
    assert start().board.batch_sizes == (4,)
    assert start.measurements == 2


def test_figures_that_did_not_settle_are_measured_until_they_do(start: Start) -> None:
    chosen = []
    for seconds, is_settled in (
        ({4: 1.0, 8: 2.5}, False),
        ({4: 1.5, 8: 1.6}, False),
        ({4: 1.2, 8: 1.7}, True),
        ({4: 1.0, 8: 2.5}, False),
    ):
        start.timing = Timing(LatencyCurve(seconds), is_settled)
        warm = start()
        chosen.append((start.measurements, warm.curve.sizes))
    assert chosen == [(1, (4,)), (2, (4, 8)), (3, (4, 8)), (3, (4, 8))]
    shortest = [warm.measured.seconds(size) for size in warm.measured.sizes]
    assert shortest == [1.0, 1.6], "of all starts"


def test_sizes_that_never_agree_are_not_kept(start: Start) -> None:
    start.sizes[False] = ()
    assert not start().is_invariant
    start()
    assert start.measurements == 2


def other_processor(_start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_module, "describe_processor", lambda: "another")


def other_version(_start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "99.0")


def other_threads(start: Start, _monkeypatch: pytest.MonkeyPatch) -> None:
    start.threads = 1


@pytest.mark.parametrize("change", [other_processor, other_version, other_threads])
def test_another_machine_version_or_setting_measures_for_itself(
    change: Callable[[Start, pytest.MonkeyPatch], None],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start()
    change(start, monkeypatch)
    start()
    assert start.measurements == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"step_seconds": {"4": 1.0}}',
        b'{"step_seconds": {}, "is_settled": true}',
        b'{"step_seconds": {"four": 1.0}, "is_settled": true}',
        b'{"step_seconds": {"4": null}, "is_settled": true}',
        b'{"step_seconds": {"4": -1.0}, "is_settled": true}',
        b'{"step_seconds": {"0": 1.0}, "is_settled": true}',
        b'{"step_seconds": {"4": 1.0}, "is_settled": true, "more": 1}',
    ],
)
def test_a_file_that_is_no_curve_is_measured_anew(
    content: bytes, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    FileCache(start.file().parent).write(start.file().name, content)
    assert start().curve.sizes == (4, 8)
    assert start.measurements == 2
    assert ["is damaged" in record.message for record in caplog.records] == [True]
    start()
    assert start.measurements == 2


def test_a_machine_is_known_by_what_images_depend_on() -> None:
    cpu = torch.device("cpu")
    here = machine_digest(cpu, 2, (4, 8))
    assert here == machine_digest(cpu, 2, (4, 8, 16)), "on a CPU all sizes give the same bytes"
    assert here != machine_digest(cpu, 1, (4, 8))


def test_another_processor_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine_digest(torch.device("cpu"), 1, (4,))
    monkeypatch.setattr(measured_module, "describe_processor", lambda: "another")
    assert machine_digest(torch.device("cpu"), 1, (4,)) != here
