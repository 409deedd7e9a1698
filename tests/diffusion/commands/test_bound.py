"""`ddpm bound`: a table, JSON and a plot of given pictures; refusals before the work."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion import sampling
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("bound") / "tiny", num_classes=2, null_label=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{name}.png")
    return [str(folder / "a.png"), str(folder / "b.png")]


def test_json_has_every_term_and_their_sum(
    tiny: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--json", "--terms=50", "--label", "0", "1", "--seed=2", "--runtime=eager"]
    assert main(["bound", str(tiny), *pictures, *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["seed"]) == ("tiny", 2)
    for k, image in enumerate(report["images"]):
        assert (image["picture"], image["label"]) == (pictures[k], k)
        assert [term["t"] for term in image["terms"]] == list(range(1, 51))
        assert image["L_0"] == image["terms"][0]["bits_per_dim"]
        total = image["L_T"] + sum(term["bits_per_dim"] for term in image["terms"])
        assert image["bits_per_dim"] == pytest.approx(total) and image["standard_error"] > 0
    assert main(["bound", str(tiny), pictures[0], "--json", "--terms=50", "--label=0", "--seed=2",
                 "--runtime=eager"]) == 0  # fmt: skip
    alone = json.loads(capsys.readouterr().out)["images"][0]
    assert alone["bits_per_dim"] == pytest.approx(report["images"][0]["bits_per_dim"], rel=1e-5)


def test_a_table_sums_the_terms_up_and_a_plot_draws_them(
    tiny: Path, pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plots" / "bound.png"
    flags = ["--terms=8", "--runtime=eager", f"--plot={plot}"]
    assert main(["bound", str(tiny), *pictures, *flags]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["picture", "bits/dim", "error", "L_0"]
    assert head.split()[-1] == "L_T" and "t 32-50" in head
    for name, line in zip(("a.png", "b.png"), lines, strict=True):
        found, total, _error, *parts = line.split()
        assert found == name
        assert float(total) == pytest.approx(sum(map(float, parts)), abs=1e-3)
    with Image.open(plot) as drawn:
        assert drawn.width > 500
    assert main(["bound", str(tiny), pictures[0], "--timesteps", "1", "9", "--runtime=eager"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.split()[1:3] == ["-", "-"], "the terms are not all"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--terms=51"], "terms: 51 is not allowed: it must be 2..50, all of the terms"),
        (["--timesteps", "0"], "timesteps: 0 is not allowed: it must be 1..50"),
        (["--seed=-1"], "seed: -1 is not allowed: it must be 0..9007199254740991"),
        (["--label=2"], "labels: 2 is not allowed: this model has labels 0..1"),
        (["--label", "0", "1", "0"], "labels: [0, 1, 0] is not allowed: 3 labels for n = 2"),
        (["--plot=a.gif"], "plot: 'a.gif' is not allowed: the ending must be .png or .svg"),
        (["--plot=there.png"], "plot: 'there.png' is not allowed: the file exists; --force"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_work(
    tiny: Path,
    pictures: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").touch()
    monkeypatch.setattr(sampling.Source, "of", lambda *_: pytest.fail("the work has begun"))
    assert main(["bound", str(tiny), *pictures, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm: ") and message in line
