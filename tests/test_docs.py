"""The pages name what exists: links, anchors, commands, flags, settings, metrics, files."""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest

from app.cli import main
from app.environment import PREFIX
from app.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").glob("*.md")]
PAGES.sort()
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
TEST = re.compile(r"`test_\w+`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COMMAND = re.compile(
    r"(?<![\w/-])ddpm (data|init|train|sample|encode|bound|evaluate|tune|checkpoint|export|average"
    r"|import [a-z-]+|serve|key)\b"
    r"((?:\\\n|[^\n#`|])*)"
)
ANY_COMMAND = re.compile(r"(?:^|`|bin/)ddpm ([a-z]\w*)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z_-]+")
PATH = re.compile(r"(?<![\w./-])(?:app|diffusion|tests|benchmarks|configs|examples)/[\w./-]+\.\w+")
MODULE = re.compile(r"python3? -m ((?:app|diffusion|benchmarks|tests)[\w.]*)")
NOT_SETTINGS = {"DDPM_API_KEY"}
"""Read by the client."""
UNITS = re.compile(r"_(?:total|bucket|count|sum)$")
METRICS = ("metrics", "collectors")
"""Modules of app.http that name them."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=name)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """The label, the file and the anchor of each relative link."""
    for label, target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield label, (page.parent / path).resolve() if path else page, anchor


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as hosting platforms make them."""
    titles = (re.sub(LINK, r"\1", title).lower() for title in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in titles}


@cache
def help_text(command: str) -> str:
    """What `ddpm COMMAND --help` prints; an import's command names a project too."""
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        main([*command.split(), "--help"])
    return printed.getvalue()


def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for label, target, anchor in links(page):
        assert target.exists(), f"[{label}]: there is no {target}"
        if anchor:
            assert anchor in anchors(target), f"[{label}]: {name(target)} has no #{anchor}"


def test_a_link_to_a_file_of_code_has_the_name_of_that_file(page: Path) -> None:
    for label, target, _ in links(page):
        if label.endswith(".py"):
            assert label == target.name


def test_a_link_to_a_test_names_one_that_is_there(page: Path) -> None:
    for label, target, _ in links(page):
        if TEST.fullmatch(label):
            assert f"def {label.strip('`')}(" in target.read_text(), f"{target.name} has no {label}"


def test_every_line_of_a_threat_has_its_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    threats = text[text.index("## Threats") : text.index("## Fuzzing")]
    rows = [row for row in threats.splitlines() if row.startswith("| ") and " test |" not in row]
    without = [row for row in rows if "[`test_" not in row and "---" not in row]
    assert len(rows) > 10 and not without


def test_every_file_and_module_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), path
    for module in MODULE.findall(text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_every_command_exists_and_has_the_flags_it_is_shown_with(page: Path) -> None:
    text = page.read_text()
    named = set(ANY_COMMAND.findall(text))
    commands = (
        "data init train sample encode bound evaluate features tune checkpoint export average "
        "import serve"
    )
    assert named <= {*commands.split(), "key"}
    for command, arguments in COMMAND.findall(text):
        known = {*FLAG.findall(help_text(command)), "--help"}
        shown = set(FLAG.findall(arguments))
        assert shown <= known, f"ddpm {command}: {shown - known}"


def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | NOT_SETTINGS
    for variable in re.findall(r"\bDDPM_[A-Z_]+(?![A-Z_…])", page.read_text()):
        assert variable in known, variable


def test_every_setting_is_described() -> None:
    pages = "".join(
        (ROOT / "docs" / page).read_text() for page in ("operations.md", "jobs.md", "cluster.md")
    )
    wanted = {PREFIX + field.upper() for field in Settings.model_fields}
    assert not {variable for variable in wanted if f"`{variable}`" not in pages}


def test_every_metric_that_is_named_exists(page: Path) -> None:
    source = "".join((ROOT / f"app/http/{name}.py").read_text() for name in METRICS)
    for metric in re.findall(r"\bddpm_(?!…)\w+", page.read_text()):
        assert f'"{UNITS.sub("", metric)}"' in source, metric


def test_every_page_is_in_the_index() -> None:
    linked = {target for _, target, _ in links(ROOT / "docs/README.md")}
    decisions = {target for _, target, _ in links(ROOT / "docs/decisions/README.md")}
    assert set(PAGES) <= linked | decisions | {ROOT / "docs/README.md"}


def test_the_readme_is_read_in_five_minutes() -> None:
    words = (ROOT / "README.md").read_text().split()
    assert 700 <= len(prose(ROOT / "README.md").split()) <= len(words) <= 1200
