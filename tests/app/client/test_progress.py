"""Progress bars, and the file of a download."""

import dataclasses
from pathlib import Path

import pytest

from app.client.progress import job_bar, partial_file, transfer_bar
from app.client.status import Job, Transfer
from tests.app.client.test_results import JOB


def drawn(capsys: pytest.CaptureFixture[str], *states: Job) -> str:
    """The last state of the bar."""
    with job_bar(True) as show:
        for state in states:
            show(state)
        *_, last = capsys.readouterr().err.split("\r")
    return last


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (JOB, "about 5 s left"),
        (dataclasses.replace(JOB, left_s=None), "running"),
        (dataclasses.replace(JOB, left_s=None, detail="waits for the engine"), "waits for the eng"),
    ],
    ids=["at work", "just begun", "waiting"],
)
def test_a_jobs_bar_has_the_servers_estimate(
    state: Job, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = drawn(capsys, dataclasses.replace(JOB, done=1), state)
    assert "3/10" in last and said in last
    assert "image/s" not in last, "tqdm does not know when the job began"


def test_what_was_downloaded_before_took_no_time_now(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer_bar("images.zip", True) as show:
        show(Transfer(900, 1000))
        show(Transfer(1000, 1000))
    assert "1.00k/1.00k" in capsys.readouterr().err


def test_a_bar_that_is_not_wanted_is_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with job_bar(False) as show:
        show(JOB)
    with transfer_bar("images.zip", False) as show_transfer:
        show_transfer(Transfer(1, None))
    assert capsys.readouterr().err == ""


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    target, part = tmp_path / "images.zip", tmp_path / "images.zip.abc.part"
    with pytest.raises(KeyboardInterrupt):
        with partial_file(target, "abc") as file:
            file.write(b"half")
            raise KeyboardInterrupt
    assert part.read_bytes() == b"half" and not target.exists()
    with partial_file(target, "abc") as file:
        file.write(b" and half")
    assert target.read_bytes() == b"half and half" and not part.exists()


def test_of_a_download_that_never_began_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), partial_file(tmp_path / "images.zip", "abc"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), partial_file(tmp_path / "no/images.zip", "abc"):
        pass
