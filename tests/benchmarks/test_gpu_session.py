"""benchmarks.gpu_session: the driver of the steps, and all of it once on a CPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_session
from benchmarks.gpu.results import Results
from benchmarks.gpu_session import PARTS, Part, Session


def statuses(out: Path) -> dict[str, str]:
    lines = Results.read(out / "results.jsonl").latest("step", ("step",))
    return {line["step"]: line["status"] for line in lines}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, "cpu", tiny=True, ends=float("inf"))


def test_the_steps_fit_into_what_a_session_has() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
    most_important = PARTS[:5]
    assert sum(part.seconds for part in most_important) <= gpu_session.SECONDS <= 570


@pytest.mark.slow
def test_one_step_writes_results_tables_and_a_log(tmp_path: Path) -> None:
    out = tmp_path / "session"
    assert gpu_session.main([f"--out={out}", "--tiny", "--only", "card"]) == 0
    assert statuses(out) == {"card": "done"}
    tables = (out / "tables.md").read_text()
    assert "### Targets" in tables and "### Matrix peak" in tables
    assert "== card" in (out / "log.txt").read_text()


def test_a_step_that_takes_too_long_is_cut_and_what_it_measured_stays(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.results.write_text(
        '{"step": "card", "kind": "peak", "precision": "tf32", "flops": 1}\n'
    )
    monkeypatch.setattr(gpu_session, "LEAST_SECONDS", 0.0)
    assert session.run(Part("card", "card", seconds=0.1)) == "cut"
    assert statuses(session.out) == {"card": "cut"}
    assert "| tf32 |" in (session.out / "tables.md").read_text()


def test_a_step_that_fails_says_so(session: Session) -> None:
    assert session.run(Part("nothing", "no_such_step", 60)) == "failed with status 1"
    assert "No module named" in (session.out / "log.txt").read_text()


def test_a_step_for_which_no_time_is_left_is_not_begun(tmp_path: Path) -> None:
    session = Session(tmp_path, "cpu", tiny=True, ends=0.0)
    assert session.run(PARTS[0]) == "no time"


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_session.main([f"--out={tmp_path / 'session'}"]) == 2
    assert "no GPU: PyTorch finds none here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_session_on_a_cpu_leaves_nothing_unmeasured(tmp_path: Path) -> None:
    out = tmp_path / "session"
    gpu_session.main([f"--out={out}", "--tiny"])
    assert statuses(out) == {part.name: "done" for part in PARTS}, (out / "log.txt").read_text()
    found = Results.read(out / "results.jsonl")
    assert found.latest("failed", ("what",)) == []
    assert len(found.latest("http", ("images",))) == 2 and found.latest("http-beside")
    assert found.latest("tests")[0]["failed"] == []
    assert json.loads((out / "results.jsonl").read_text().splitlines()[-1])["step"] == "profile"
