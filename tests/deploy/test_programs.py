"""The programs of others read our files, and their absence is told."""

import subprocess

import pytest

from tests.deploy.compose import ROOT
from tests.deploy.programs import find, until


@pytest.mark.deploy
def test_the_files_are_what_the_programs_read() -> None:
    haproxy = [find("haproxy"), "-c", "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")]
    promtool = [find("promtool"), "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")]
    for command in (haproxy, promtool):
        checked = subprocess.run(command, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_program_that_is_not_here_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="make test-deploy"):
        find("no-such-program")


def test_waiting_ends_with_what_was_waited_for() -> None:
    with pytest.raises(AssertionError, match="the end of time: not within 0.1 s"):
        until(lambda: False, "the end of time", 0.1)
