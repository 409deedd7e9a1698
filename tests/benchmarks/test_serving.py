"""benchmarks.serving: a short run on a tiny checkpoint, our server only."""

import json
from pathlib import Path

import pytest

from benchmarks import serving
from tests.tiny import save_tiny


@pytest.mark.slow
def test_a_short_run_prints_tables_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_tiny(
        tmp_path / "tiny", num_timesteps=100, num_classes=10, null_label=True, learned_range=True
    )
    out = tmp_path / "serving.json"
    status = serving.main(
        ["--servers", "ours", f"--checkpoint={checkpoint}", "--runtime=eager", "--duration=1",
         "--turns=2", "--clients=2", "--rates=1", "--capacity=4", "--mixes", "small",
         "trajectories", f"--out={out}"]
    )  # fmt: skip
    assert status == 0
    printed = capsys.readouterr().out
    (report,) = json.loads(out.read_text())["reports"]
    for title in ("### Saturation", "### One image beside", "### Open loop", "### Engine"):
        assert title in printed
    saturation = report["saturation"]
    assert len(saturation["images_per_second"]) == 2 and min(saturation["images_per_second"]) > 0
    assert saturation["answers"] and not any(a["error"] for a in saturation["answers"])
    assert {"50", "100"} == saturation["engine"].keys(), "the requests' steps, and the model's"
    for rates in saturation["engine"].values():
        assert len(rates) == 2 and all(rate["steps"] and rate["bare_seconds"] for rate in rates)
    small, trajectories = report["open_loops"]
    assert small["latencies"]["first_frame_p50"] is None
    assert 0 < trajectories["latencies"]["first_frame_p50"] <= trajectories["latencies"]["p50"]
    assert report["peak_memory_bytes"] > 50 << 20


def test_a_server_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main(["--servers", "theirs"]) == 2
    assert "--servers: 'theirs': it must be ours, lock or litserve-BATCH" in capsys.readouterr().err
