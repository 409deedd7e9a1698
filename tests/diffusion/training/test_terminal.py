"""What is told to the user outlives the terminal."""

import os
import sys

import pytest

from diffusion.training.terminal import Lasting, progress_bar, tell


def test_a_stream_whose_reader_is_gone_is_written_to_without_an_error() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        lasting = Lasting(stream)
        lasting.write("seen")
        assert os.read(reader, 10) == b"seen", "nothing is kept back"
        os.close(reader)
        for _ in range(2):
            lasting.write("not seen")
        print("nor this", file=lasting)


def test_it_is_in_all_else_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    lasting = Lasting(sys.stdout)
    assert lasting.encoding == sys.stdout.encoding
    print("a line", file=lasting)
    lasting.flush()
    assert capsys.readouterr().out == "a line\n"


def test_a_line_beside_a_bar_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "training", initial=1) as bar:
        tell(bar, "ten steps are done")
    shown = capsys.readouterr()
    assert shown.out == "ten steps are done\n"
    assert "training" in shown.err and "1/3" in shown.err


def test_a_bar_that_is_not_shown_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "training", shown=False) as bar:
        bar.update()
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_file_is_drawn_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1000, "training") as bar:
        for _ in range(1000):
            bar.update()
    assert capsys.readouterr().err.count("training") < 10
