"""Starts of a server, measured."""

from pathlib import Path

import pytest

from benchmarks.starting import Start, start, table


def test_the_table_has_the_medians_of_first_and_later_starts() -> None:
    sizes = (1, 2)
    starts = [Start(True, seconds, 9.0, 200 << 20, 50 << 20, sizes) for seconds in (9.0, 8.0, 30.0)]
    starts += [Start(False, 4.0, 5.0, 100 << 20, 50 << 20, sizes)]
    assert table(starts).splitlines()[2:] == [
        "| first | 9.00 | 8.00 | 30.0 | 9.00 | 200 | 50 | 1, 2 |",
        "| with a cache | 4.00 | 4.00 | 4.00 | 5.00 | 100 | 50 | 1, 2 |",
    ]


@pytest.mark.slow
def test_a_start_is_measured(plain: Path, tmp_path: Path) -> None:
    flags = ["--threads=1", "--max-batch=2", "--runtime=openvino"]
    for is_first in (True, False):
        measured = start(str(plain), flags, tmp_path, is_first=is_first)
        assert 0 < measured.cpu_seconds < 100 and measured.seconds > 0
        assert measured.engine_bytes > measured.api_bytes > 1 << 20
        assert measured.batch_sizes == (1, 2)
    assert list((tmp_path / "cache" / "openvino").glob("*.compiled"))
