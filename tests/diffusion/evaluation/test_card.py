"""A report summed up for the model card of its weights."""

import json
from pathlib import Path

import pytest

from diffusion.evaluation.card import ReportError, read_quality, recommend
from tests.diffusion.evaluation.runs import Run


@pytest.mark.slow
def test_a_report_is_summed_up_for_the_card_of_its_weights_alone(run: Run) -> None:
    path = run.folder / "report.json"
    quality = read_quality([path], run.report["sha256"])
    assert quality["bits_per_dim"] == run.report["bound"]
    assert quality["samplers"].keys() == {"ddim:4", "dpmpp:3"}
    assert "seconds" not in quality["samplers"]["ddim:4"]
    assert quality["frechet_floor"] == run.report["floor"]
    for name in ("version", "date", "features", "classifier", "warnings"):
        assert quality[name] == run.report[name]
    assert "estimators" not in quality, "only one was used"
    with pytest.raises(ReportError, match="is of the weights .*, not of these, 0000"):
        read_quality([path], "0000")


@pytest.mark.slow
def test_a_report_of_an_older_version_is_read(run: Run, tmp_path: Path) -> None:
    row = {"sampler": "ddim:4", "images": 12, "frechet": 2.0, "precision": 0.5, "recall": 0.5}
    older = {
        "command": "ddpm evaluate tiny", "sha256": "0000", "machine": "x86_64",
        "bound": run.report["bound"], "floor": {"images": 12, "frechet": 1.0}, "samplers": [row],
    }  # fmt: skip
    path = tmp_path / "report.json"
    path.write_text(json.dumps(older))
    quality = read_quality([path, path], "0000")
    assert quality["samplers"] == {"ddim:4": {k: v for k, v in row.items() if k != "sampler"}}
    assert quality["frechet_floor"] == older["floor"] and "version" not in quality
    assert "bits_per_dim" not in quality["more"][0]


@pytest.mark.parametrize("text", ["{}", "[", json.dumps({"sha256": "0000"})])
def test_a_file_that_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ReportError, match="not a report of `ddpm evaluate`"):
        read_quality([path], "0000")


def test_a_card_recommends_the_fewest_steps_within_the_noise_of_the_best() -> None:
    first = {"ddim:50@1": measured(1.0), "unipc:8/tuned@1": measured(1.05)}
    more = {"dpmpp:5/karras@1": measured(1.3), "ddim:4": measured(0.5)}
    quality = {"samplers": first, "more": [{"samplers": more}]}
    tuned = {"unipc": {"8": [1000, 800, 600, 400, 300, 200, 100, 50]}}
    chosen = {"sampler": "unipc", "steps": 8, "spacing": "tuned"}
    assert recommend(quality, tuned, 1000) == chosen
    without = recommend(quality, {}, 1000)
    assert without == {"sampler": "ddim", "steps": 50, "spacing": "even"}, "measured with others"


def measured(frechet: float) -> dict[str, object]:
    return {"images": 100, "frechet": frechet, "frechet_interval": [frechet - 0.1, frechet + 0.1]}
