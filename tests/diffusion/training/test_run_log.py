"""The log of a run: read, written, and cut back to where the run goes on from."""

import json
import logging
from pathlib import Path

import pytest

from diffusion.training.run_log import append, cut_back, read_log


def write(run: Path, *lines: str) -> None:
    (run / "log.jsonl").write_text("\n".join(lines) + "\n")


def entry(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss, "loss_by_t/quartile_1": loss / 2})


def losses(run: Path) -> dict[int, float]:
    return {step: scalars["loss"] for step, scalars in read_log(run).items()}


class Scalars(list[tuple[str, float, int]]):
    """A Writer that remembers what it was given."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None:
        self.append((tag, value, step))

    def add_image(self, tag: str, image: object, step: int, /) -> None: ...


def test_of_a_step_that_was_logged_twice_the_newer_line_counts(tmp_path: Path) -> None:
    write(tmp_path, entry(50, 1.0), entry(100, 0.5), '{"step": 150, "lo', entry(100, 0.4))
    assert losses(tmp_path) == {50: 1.0, 100: 0.4}


def test_scalars_are_appended_and_given_to_tensorboard(tmp_path: Path) -> None:
    writer = Scalars()
    append(tmp_path, None, 50, {"loss": 1.0})
    append(tmp_path, writer, 100, {"loss": 0.5})
    assert losses(tmp_path) == {50: 1.0, 100: 0.5}
    assert writer == [("loss", 0.5, 100)]


def test_a_log_that_cannot_be_written_is_reported_and_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        append(tmp_path, None, 50, {"loss": 1.0})
    assert "step 50 is missing in the log: " in caplog.text


def test_a_log_is_cut_back_to_the_step_that_a_run_goes_on_from(tmp_path: Path) -> None:
    kept = [entry(50, 1.0), entry(100, 0.5)]
    write(tmp_path, *kept, entry(150, 0.4), '{"step": 200, "lo')
    cut_back(tmp_path, 100)
    assert (tmp_path / "log.jsonl").read_text() == "\n".join(kept) + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_an_unfinished_last_line_does_not_join_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(entry(50, 1.0) + "\n" + '{"step": 100, "lo')
    cut_back(tmp_path, 100)
    append(tmp_path, None, 100, {"loss": 0.5})
    assert losses(tmp_path) == {50: 1.0, 100: 0.5}


@pytest.mark.parametrize("line", ["[1]", "3", '{"loss": 1}', '{"step": "x"}', "\x00\x00"])
def test_what_is_not_a_line_of_the_log_is_removed(line: str, tmp_path: Path) -> None:
    write(tmp_path, entry(50, 1.0), line)
    assert losses(tmp_path) == {50: 1.0}
    cut_back(tmp_path, 100)
    assert (tmp_path / "log.jsonl").read_text() == entry(50, 1.0) + "\n"


def test_a_log_that_ends_before_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, entry(50, 1.0))
    before = (tmp_path / "log.jsonl").stat()
    cut_back(tmp_path, 60)
    assert (tmp_path / "log.jsonl").stat().st_ino == before.st_ino


def test_a_run_without_a_log_has_nothing_to_cut(tmp_path: Path) -> None:
    cut_back(tmp_path, 0)
    assert not list(tmp_path.iterdir())
