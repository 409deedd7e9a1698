"""The suite itself: every module has its tests, in the mirrored place, and every test checks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MODULES = [
    path
    for tree in ("app", "diffusion")
    for path in sorted((ROOT / tree).rglob("*.py"))
    if path.name != "__init__.py" and "migrations" not in path.parts
]
"""Migrations are run, and compared with the tables, in tests/app/jobs/test_database.py."""

CHECKS = {
    "raises": "pytest's",
    "warns": "pytest's",
    "expect": "Playwright's",
    "call_and_validate": "Schemathesis'",
    "problem": "compares an answer's status and its problem",
    "_answered_or_refused": "compares an answer's status with those that the contract has",
    "until": "fails when its time is over",
    "until_status": "fails when its time is over",
    "until_detail": "fails when its time is over",
    "die_and_finish": "compares the result with the whole samples",
}
"""Functions that fail a test, besides those named assert... or check..."""


def place_of_tests(module: Path) -> Path:
    name = module.stem.strip("_")  # __main__ has test_main.py
    return ROOT / "tests" / module.relative_to(ROOT).with_name(f"test_{name}.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_test_module_in_the_mirrored_place(module: Path) -> None:
    assert place_of_tests(module).exists()


def written_in(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("test_"):
                yield node


def can_fail(node: ast.AST) -> bool:
    """Is it a statement that fails the test when something is wrong?"""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).split(".")[-1]
        return name in CHECKS or name.startswith(("assert", "check"))
    if isinstance(node, ast.Raise) and node.exc is not None:
        return ast.unparse(node.exc).startswith("AssertionError")
    return isinstance(node, ast.Assert)


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_checks_something(path: Path) -> None:
    without = {test.name for test in written_in(path) if not any(map(can_fail, ast.walk(test)))}
    assert not without
