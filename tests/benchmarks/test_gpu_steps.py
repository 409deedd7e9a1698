"""The steps of a GPU session, on a CPU with a tiny network: no typo is to cost a GPU's time."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from benchmarks import networks
from benchmarks.gpu import exact, variants
from benchmarks.gpu.step import Step

CPU = torch.device("cpu")
KINDS = {
    "card": {"machine", "peak", "copy", "launch", "graph"},
    "exact": {"bytes"},
    "network": {"network"},
    "compiled": {"compiled"},
    "invariance": {"invariance"},
    "engine": {"engine-start", "engine", "joiner", "long", "bare"},
    "peers": {"peer"},
    "profile": {"kernel", "memory"},
}
"""What each step measures; the two that start servers and tests are in test_gpu_session.py."""


def results(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_step_measures_all_that_it_is_to(name: str, tmp_path: Path) -> None:
    step = Step(name, tmp_path / "results.jsonl", CPU, tiny=True)
    importlib.import_module(f"benchmarks.gpu.{name}").run(step)
    found = results(step.out)
    assert {result["kind"] for result in found} == KINDS[name], found
    assert all(result["step"] == name for result in found)


def test_the_cpu_has_its_own_bytes(tmp_path: Path) -> None:
    step = Step("exact", tmp_path / "results.jsonl", CPU, tiny=True)
    exact.run(step)
    found = results(step.out)
    assert {"noise", "exp", "log", "cos and sin", "sampler ddpm"} <= {r["what"] for r in found}
    assert all(result["equal"] and result["first"] is None for result in found)


def test_a_difference_is_found_where_it_is(tmp_path: Path) -> None:
    step = Step("exact", tmp_path / "results.jsonl", CPU)
    made = iter([torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [0.0, -0.0, 1.0]])])
    exact.compare(step, "zeros", lambda _: next(made))
    (found,) = results(step.out)
    assert (found["equal"], found["differing"], found["first"]) == (False, 2, 4)


def test_a_failure_is_written_down_and_the_next_is_measured(tmp_path: Path) -> None:
    step = Step("card", tmp_path / "results.jsonl", CPU)

    def fail() -> None:
        raise LookupError("no such\nthing")

    step.attempt("first", fail)
    step.attempt("second", lambda: step.write("peak", {"flops": float("inf")}))
    assert results(step.out) == [
        {"step": "card", "kind": "failed", "what": "first", "reason": "LookupError: no such thing"},
        {"step": "card", "kind": "peak", "flops": None},
    ]


@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_a_variant_computes_what_the_network_does(
    variant: variants.Variant, tmp_path: Path
) -> None:
    model = networks.tiny(tmp_path / "tiny").model()
    network = variants.prepare(model, variant, CPU)
    inputs = variants.Inputs.of(model, 4, CPU)
    with torch.inference_mode():
        made, expected = network(inputs.x_t, inputs.t), model(inputs.x_t, inputs.t)
    is_half = variants.PRECISION[variant] == "bfloat16"
    assert made.dtype == torch.float32
    assert (not torch.equal(made, expected)) == is_half
    torch.testing.assert_close(made, expected, atol=0.05 if is_half else 0.0, rtol=0.0)
    assert network.unet.conv_in.weight.dtype == torch.float32, "else x_t would be rounded"


def test_rows_are_the_same_in_every_size(tmp_path: Path) -> None:
    model = networks.tiny(tmp_path / "tiny").model()
    few, many = (variants.Inputs.of(model, size, CPU) for size in (2, 5))
    assert torch.equal(few.x_t, many.x_t[:2]) and torch.equal(few.t, many.t[:2])
