"""benchmarks.int8: which operations are rounded, over which t, and the table."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks import int8
from benchmarks.quantised import IMAGES, exact, seen
from diffusion.checkpoint import open_checkpoint
from diffusion.openvino.model import converted
from tests.tiny import save_tiny


def test_ranges_are_taken_from_noise_to_images_at_all_t(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save_tiny(tmp_path / "model", num_classes=3))
    calls = list(seen(checkpoint.eps_model(), checkpoint))
    ts = [t.tolist() for _, t, _ in calls]
    assert all(row == [row[0]] * IMAGES for row in ts)
    assert [row[0] for row in ts] == sorted({row[0] for row in ts}, reverse=True)
    assert len(ts) == 25 and ts[0][0] > 45 and ts[-1][0] < 5  # of 0..49
    x_T, _, labels = calls[0]
    assert 0.8 < x_T.std() < 1.2 and set(labels.tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_the_inner_convolutions_alone_are_rounded(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    checkpoint = open_checkpoint(save_tiny(tmp_path / "model"))
    graph = converted(checkpoint.eps_model())
    kept = set(exact(graph))
    nodes = [n for n in graph.get_ordered_ops() if n.get_friendly_name() not in kept]
    rounded = [n for n in nodes if n.get_type_name() != "Constant"]
    assert {n.get_type_name() for n in rounded} == {"Convolution", "ConvolutionBackpropData"}
    names = " ".join(n.get_friendly_name() for n in rounded)
    assert "mid_block" in names and "conv_in" not in names and "conv_out" not in names


def test_the_table_has_medians_and_the_ratio_within_rounds() -> None:
    taken = {"float32": [4.0, 4.0, 9.0], "bfloat16": [2.0, 3.0, 8.0], "int8": [1.0, 2.0, 2.0]}
    assert int8.table({"paper": {8: taken}}).splitlines()[2:] == [
        "| paper | 8 | 4.00 | 3.00 | 2.00 | 2.00 |"
    ]


@pytest.mark.skipif(importlib.util.find_spec("nncf") is not None, reason="NNCF is installed")
def test_without_nncf_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert int8.main([]) == 2
    assert "pip install nncf" in capsys.readouterr().err


@pytest.mark.slow
def test_a_moment_of_a_tiny_network(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf")
    flags = ["--networks=tiny", "--sizes", "1", "2", "--rounds=2", "--seconds=0.01", "--threads=1"]
    assert int8.main(flags) == 0
    assert "| tiny | 2 |" in capsys.readouterr().out
