"""One process to the folder of a run; a dead one's place is free, where death can be known."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from diffusion.training.errors import TrainingError
from diffusion.training.lock import locked

HOLD = """
import sys
from pathlib import Path
from diffusion.training.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(run: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock of a run until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process


def left_behind(run: Path, *, host: str, boot: str = "another", pid: int = 1) -> Path:
    """A lock.json without a process that holds the lock."""
    path = run / "lock.json"
    told = {"host": host, "pid": pid, "boot": boot, "since": "2026-01-31 10:00:00"}
    path.write_text(json.dumps(told))
    return path


def test_a_second_process_is_refused_with_host_and_process_of_the_first(tmp_path: Path) -> None:
    with other_process(tmp_path) as first:
        message = f"out: {tmp_path} is in use by process {first.pid} on {platform.node()}, since 2"
        with pytest.raises(TrainingError, match=message), locked(tmp_path):
            pass
        assert (tmp_path / "lock.json").exists(), "the first one's"
        first.communicate()
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "lock.json").exists()


def test_a_lock_without_a_description_is_a_lock_too(tmp_path: Path) -> None:
    with other_process(tmp_path) as first:
        (tmp_path / "lock.json").unlink()
        with pytest.raises(TrainingError, match="in use by another process"), locked(tmp_path):
            pass
        first.communicate()


def test_the_lock_of_a_killed_process_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with other_process(tmp_path) as first:
        first.kill()
        first.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
    assert f"process {first.pid} on {platform.node()}" in caplog.text
    assert "ended without a word" in caplog.text


def test_a_lock_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        assert (tmp_path / "lock.json").exists()


def test_what_another_machine_left_is_not_taken_over_unasked(tmp_path: Path) -> None:
    left = left_behind(tmp_path, host="elsewhere", pid=77)
    message = f"in use by process 77 on elsewhere, .* cannot be known .*, remove {left}"
    with pytest.raises(TrainingError, match=message), locked(tmp_path):
        pass
    left.unlink()
    with locked(tmp_path):
        assert left.exists()


def test_a_container_on_this_machine_is_no_other_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("this start\n")
    monkeypatch.setattr("diffusion.training.lock.BOOT_ID", boot)
    left_behind(tmp_path, host="a container", boot="this start")
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["host"] == platform.node()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "x"}'])
def test_a_description_that_is_not_whole_tells_of_nobody(text: str, tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()


def test_without_locks_of_the_file_system_a_live_process_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    left_behind(tmp_path, host=platform.node(), pid=os.getpid())
    with pytest.raises(TrainingError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
        pass
    assert "its file system locks no files (no locks available)" in caplog.text
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, text=True)  # fmt: skip
    left_behind(tmp_path, host=platform.node(), pid=int(ended.stdout))
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
