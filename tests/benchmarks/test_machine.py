"""Where a benchmark ran."""

import subprocess
import sys
import time

import torch

from benchmarks.machine import machine, matrix_peak, processor_seconds, seconds_of

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


def test_the_processors_clock_stands_while_nothing_is_done() -> None:
    started, wall = processor_seconds(), time.perf_counter()
    time.sleep(0.3)
    assert processor_seconds() - started < 0.5 * (time.perf_counter() - wall)


def test_the_processors_clock_counts_what_children_do() -> None:
    command = [sys.executable, "-c", "print(sum(range(10**7)), flush=True); input()"]
    started = processor_seconds()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processor_seconds() - started > 0.05
        child.communicate(b"\n")
