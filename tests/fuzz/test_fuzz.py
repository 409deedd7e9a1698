"""Readers of what others wrote read an input or refuse it with the documented error, within bounds
of time and memory. Fifty inputs each here, 200 where slow tests run; `make fuzz` reads
100,000."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.child import Fault, Job, fault_of, input_of, time_bound
from tests.fuzz.child import run as run_job
from tests.fuzz.mutations import changed_bytes, changed_value
from tests.fuzz.parent import CORPUS, Report, fuzz, replay
from tests.fuzz.targets import Target, targets

TARGETS = (
    "checkpoint pipeline", "checkpoint index", "checkpoint unet", "checkpoint scheduler",
    "checkpoint card", "checkpoint weights", "import", "config", "data picture", "data npz",
    "data zip", "data idx", "data parquet", "wire",
)  # fmt: skip
INPUTS, MORE_INPUTS = 50, 200


def check(report: Report) -> None:
    assert report.tally.read + report.tally.refused > 0
    assert not report.faults, "\n".join(f"{f.where}: {f.error}" for f in report.kinds.values())


def test_every_target_is_fuzzed_here(tmp_path: Path) -> None:
    assert tuple(targets(tmp_path)) == TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [INPUTS, pytest.param(MORE_INPUTS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", TARGETS)
def test_an_input_is_read_or_refused_as_documented(target: str, inputs: int) -> None:
    check(fuzz(target, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(p.name.replace("-", " ") for p in CORPUS.iterdir()))
def test_what_once_broke_a_reader_does_so_no_more(target: str) -> None:
    check(replay(target))


def test_an_input_is_the_same_each_time(tmp_path: Path) -> None:
    for name, target in targets(tmp_path).items():
        assert input_of(target, name, 1, 7) == input_of(target, name, 1, 7)
        assert len({input_of(target, name, 1, index) for index in range(20)}) > 10


def test_changes_leave_the_original_as_it_was() -> None:
    value = {"a": [1, {"b": None}], "c": "text"}
    changes = [changed_value(Random(seed), value) for seed in range(200)]
    assert value == {"a": [1, {"b": None}], "c": "text"}
    assert sum(change != value for change in changes) > 150
    assert changed_bytes(Random(1), b"") is not None


def test_an_input_that_breaks_a_reader_or_takes_too_long_is_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(raw: bytes) -> None:
        if raw == b"slow":
            while True:
                pass
        raise {b"known": ValueError, b"unknown": KeyError}[raw](raw)

    words = iter([b"known", b"unknown", b"slow"])
    monkeypatch.setattr("tests.fuzz.child.SECONDS", 0.2)
    target = Target(lambda _: next(words), read, (ValueError,))
    tally = run_job(Job("config", 0, 3), target)
    assert (tally.refused, tally.faults) == (1, 2)
    told = capsys.readouterr().out
    assert "KeyError" in told and "TooSlow: more than 0.2 seconds" in told


def test_a_fault_names_the_place_in_this_project() -> None:
    def read(raw: bytes) -> None:
        raise TypeError(raw)

    try:
        with time_bound(10):
            read(b"")
    except TypeError as error:
        fault = fault_of("7", error)
    assert fault.input == "7" and fault.error == "TypeError: b''"
    assert "test_fuzz.py" in fault.where and fault.where.endswith(" read")


@pytest.mark.slow
def test_an_input_that_ends_the_process_is_told_of_and_the_next_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.fuzz import parent

    endings = iter([([], "status -11"), ([{"read": 1, "refused": 0, "faults": 0}], "status 0")])
    asked = []

    def run(job: Job) -> object:
        asked.append(job.start)
        Path(job.progress).write_text(str(job.start))
        return next(endings)

    monkeypatch.setattr(parent, "_run", run)
    report = fuzz("config", 2)
    assert asked == [0, 1]
    assert report.tally.faults == 1 and report.tally.read == 1
    assert report.faults == [Fault("0", "the process ended: status -11", "unknown")]
