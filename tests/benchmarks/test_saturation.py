"""benchmarks.saturation: what is started, and the table."""

import pytest

from benchmarks.saturation import kind, main, table


def test_a_server_has_one_thread_and_its_precision() -> None:
    ours = kind("ours@bfloat16", "models/mnist")
    assert {"--threads=1", "--precision=bfloat16"} <= set(ours.command)
    lock = kind("lock", "models/mnist")
    assert "--precision=float32" in lock.command and lock.variables["OMP_NUM_THREADS"] == "1"


def test_the_table_has_medians_and_the_ratios_within_turns() -> None:
    found = {"lock": [1.0, 2.0, 4.0], "ours@bfloat16": [3.0, 4.0, 9.0]}
    assert table(found).splitlines()[2:] == [
        "| lock | 2.00 | 2.25 | 3.00, 2.00, 2.25 |", "| ours@bfloat16 | 4.00 |  |  |"
    ]  # fmt: skip


@pytest.mark.parametrize("server", ["ours@int8", "theirs@float32"])
def test_a_server_that_there_is_not_is_refused(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--servers", server]) == 2
    assert server.split("@")[0] in capsys.readouterr().err
