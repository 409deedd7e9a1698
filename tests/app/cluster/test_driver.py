"""`ddpm serve --cluster auto` before Ray runs: what its processes have as their environment."""

import importlib.util
import stat
from pathlib import Path

import pytest

from app.cli import main
from app.cluster.driver import as_variables, ray_variables
from app.settings import Settings


def test_the_settings_are_variables_that_mean_the_same_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    given = Settings(
        checkpoint=["mnist", "mine", "b=mine"], jobs_folder=Path("jobs"), max_batch=8,
        api_keys="a key of thirty-two characters!!!", insecure=True, cache="",
    )  # fmt: skip
    variables = as_variables(given)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    read = Settings()
    mine = tmp_path / "mine"
    assert read.models == {"mnist": "mnist", "mine": str(mine), "b": str(mine)}
    assert read.jobs_folder == tmp_path / "jobs"
    assert (read.max_batch, read.keys, read.insecure, read.cache) == (
        8, given.keys, True, ""
    )  # fmt: skip
    assert "DDPM_PORT" not in variables, "what nobody has given"


def test_only_this_user_can_read_the_token_that_ray_asks_for(tmp_path: Path) -> None:
    variables = ray_variables(tmp_path)
    token = Path(variables["RAY_AUTH_TOKEN_PATH"])
    assert variables["RAY_AUTH_MODE"] == "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 64


def test_what_the_user_has_chosen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/mine")
    assert "RAY_AUTH_TOKEN_PATH" not in ray_variables(tmp_path)


def test_without_ray_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else find(name)
    )
    assert main(["serve", "--cluster=auto", "--port=0"]) == 2
    assert "cluster: 'auto': it needs the extra 'cluster'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--device=cuda:0,cuda:1"], "device: 'cuda:0,cuda:1': each engine of a cluster has one"),
        (["--api-keys-file=/nowhere"], "api_keys_file: '/nowhere': "),
        (["--jobs-results=nosuch://bucket"], "jobs_results: 'nosuch://bucket': "),
        (["--root-path=/sample"], "root_path: '/sample': "),
    ],
)  # fmt: skip
def test_what_a_server_without_ray_refuses_is_refused_before_ray_starts(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")
    assert main(["serve", "--cluster=auto", "--port=0", *flags]) == 2
    assert capsys.readouterr().err.startswith(f"ddpm serve: {reason}")
