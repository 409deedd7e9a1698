"""Commands on a model of the Hub: fetched once, and named in what they write."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.evaluation.evaluate import _origin
from tests.diffusion.evaluation.runs import arguments
from tests.fake_hub import COMMIT, REPOSITORY, FakeHub, read_folder, serve
from tests.tiny import save_tiny


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The user's Hub, as huggingface_hub takes it from the environment when it is imported."""
    monkeypatch.chdir(tmp_path)
    with serve(FakeHub({COMMIT: read_folder(save_tiny(tmp_path / "model"))})) as fake:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", fake.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield fake


def test_images_are_sampled_from_it(fake: FakeHub, tmp_path: Path) -> None:
    flags = ["--n=1", "--sampler=ddim", "--steps=2", "--runtime=eager", "--out=out.png"]
    assert main(["sample", REPOSITORY, *flags]) == 0
    assert (tmp_path / "out.png").is_file()
    assert len(fake.fetched()) == 5


def test_an_exported_card_says_where_it_came_from(fake: FakeHub, tmp_path: Path) -> None:
    assert main(["export", f"{REPOSITORY}@main", "mine"]) == 0
    card = json.loads((tmp_path / "mine" / "model_card.json").read_text())
    assert card["source"] == {"hub": REPOSITORY, "revision": COMMIT}
    opened = open_checkpoint("mine")
    assert (opened.source, opened.revision) == (REPOSITORY, COMMIT)
    assert fake.asked


def test_a_report_names_the_commit(
    fake: FakeHub, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = []
    unmeasured = {
        "evaluate.run": lambda evaluation: {**_origin(evaluation), "warnings": []},
        "summary": lambda _: "",
        "write": lambda report, _: reports.append(report),
    }
    for name, done in unmeasured.items():
        monkeypatch.setattr(f"diffusion.commands.evaluate.{name}", done)
    assert main(arguments(Path(REPOSITORY), data, tmp_path / "out")) == 0
    (report,) = reports
    assert (report["source"], report["revision"]) == (REPOSITORY, COMMIT)
    assert report["command"].startswith(f"ddpm evaluate {REPOSITORY}@{COMMIT} ")
    assert fake.asked


def test_a_summary_says_where_it_came_from(
    fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", REPOSITORY]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"from +hub: {REPOSITORY}\n.*revision: {COMMIT}", shown)
    assert f"ddpm serve --checkpoint {REPOSITORY}" in shown
    assert fake.asked


def test_the_cache_of_the_hub_is_not_tuned_and_no_network_is_loaded_for_that(
    fake: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.commands.tune.Source", None)
    assert main(["tune", REPOSITORY, "--runtime=eager"]) == 2
    assert re.search("Hub's cache stays as it is; --out names", capsys.readouterr().err)
    assert fake.asked


def test_what_the_hub_does_not_have_is_one_line(
    fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "tests/other"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tests/other: the Hub has no such model" in line
    assert fake.asked
