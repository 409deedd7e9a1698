"""How to cite a report: the project, and the papers of its measures and no others."""

from typing import Any

from diffusion.evaluation.citations import bibtex

REPORT: dict[str, Any] = {
    "date": "2031-02-03", "version": "1.2.3", "features": "the classifier's last layer",
}  # fmt: skip


def keys(entries: str) -> list[str]:
    return [line.split("{")[1].rstrip(",") for line in entries.splitlines() if line[:1] == "@"]


def test_the_project_is_cited_by_its_version_and_year() -> None:
    entry = bibtex(REPORT).split("\n\n")[0]
    assert "version = {1.2.3}" in entry and "year    = {2031}" in entry
    assert "author  = {{The ddpm-service contributors}}" in entry


def test_every_entry_is_whole() -> None:
    for entry in bibtex({**REPORT, "features": "Inception-v3's 2048 features"}).split("\n\n"):
        assert entry.count("{") == entry.count("}") and entry.strip().endswith("}")
        assert all(f"{field} " in entry for field in ("title", "author", "year"))


def test_the_papers_are_those_of_the_measures() -> None:
    common = [
        "ddpm-service", "ho2020denoising", "heusel2017gans", "chong2020effectively",
        "kynkaanniemi2019improved",
    ]  # fmt: skip
    assert keys(bibtex(REPORT)) == common
    inception = {**REPORT, "features": "Inception-v3's 2048 pooled features"}
    assert keys(bibtex(inception)) == [*common, "szegedy2016rethinking"]
    untrained = {**REPORT, "features": "an untrained network's last layer"}
    assert keys(bibtex(untrained)) == [*common, "naeem2020reliable"]
