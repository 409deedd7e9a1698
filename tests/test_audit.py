"""What `make audit` finds without a network; and what it says of a service's answer."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit import OURS, verdict

ROOT = Path(__file__).parent.parent


def run(tool: str, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{tool} is not installed")
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_bandit_finds_no_weakness_in_our_code() -> None:
    found = run("bandit", "bandit", "-q", "-c", "pyproject.toml", "-r", *OURS)
    assert found.returncode == 0, found.stdout


def test_every_installed_package_has_an_allowed_licence() -> None:
    found = run("pip-licenses", "piplicenses")
    assert found.returncode == 0, found.stderr


def test_a_known_weakness_fails_the_audit_and_is_named() -> None:
    weak = {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]}
    sound = {"name": "b", "version": "2", "vulns": []}
    text, is_clean = verdict({"dependencies": [weak, sound]})
    assert not is_clean
    assert text == "a 1: PYSEC-1\npip-audit: 1 weaknesses in 2 packages"


def test_no_known_weakness_passes() -> None:
    text, is_clean = verdict({"dependencies": [{"name": "b", "version": "2", "vulns": []}]})
    assert is_clean and text == "pip-audit: 0 weaknesses in 1 packages"


@pytest.mark.parametrize("report", [{}, {"dependencies": [{"name": "a", "skip_reason": "gone"}]}])
def test_a_service_that_does_not_answer_fails_nothing_and_is_told_of(report: dict) -> None:
    text, is_clean = verdict(report)
    assert is_clean and "nothing is known" in text
