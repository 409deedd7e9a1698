"""Where a benchmark ran."""

import time

import torch

from benchmarks.machine import machine, matrix_peak, seconds_of

CPU = torch.device("cpu")


def test_the_machine_and_the_versions_of_what_is_installed_are_named() -> None:
    found = machine("cpu", libraries=("torch", "no-such-library"))
    assert found["cpu"] and found["cores"] >= 1 and found["gpu"] is None
    assert found["versions"] == {"torch": torch.__version__}


def test_a_call_is_timed_without_the_first_one() -> None:
    calls: list[float] = []

    def slow_at_first() -> None:
        time.sleep(0.0 if calls else 0.2)
        calls.append(time.perf_counter())

    assert 0 < seconds_of(slow_at_first, CPU, at_least=0.01) < 0.1
    assert len(calls) > 3


def test_the_peak_is_that_of_a_product_and_leaves_float32_as_it_is() -> None:
    assert matrix_peak(CPU, "float32", sides=(64,), seconds=0.01) > 1e6
    assert not torch.backends.cudnn.allow_tf32
