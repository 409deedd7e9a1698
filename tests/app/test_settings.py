"""Settings: one class, from DDPM_ variables and flags, that loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import SECRETS, Settings, check_database_url


def test_variables_have_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_PORT", "9000")
    monkeypatch.setenv("PORT", "9001")
    assert Settings().port == 9000


def test_the_documented_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.models, settings.device) == ({"mnist": "mnist"}, "auto")
    assert settings.max_batch is None, "auto: the engine chooses"


@pytest.mark.parametrize(("given", "rows"), [("auto", None), ("32", 32)])
def test_the_largest_batch_is_a_number_or_the_engines_choice(
    given: str, rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPM_MAX_BATCH", given)
    assert Settings().max_batch == rows


@pytest.mark.parametrize(
    ("device", "devices"),
    [
        ("auto", ["auto"]),
        ("cuda:0, cuda:1", ["cuda:0", "cuda:1"]),
        ("auto,auto", ["auto"]),
        ("cpu,cpu", ["cpu"]),
        ("cuda,cuda:0", ["cuda"]),
        ("cuda:0,cuda:1,cuda", ["cuda:0", "cuda:1"]),
        ("cuda:1, cpu", ["cuda:1", "cpu"]),
    ],
)
def test_an_engine_is_started_on_each_distinct_device(device: str, devices: list[str]) -> None:
    assert Settings(device=device).devices == devices


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu,tpu", ""])
def test_a_device_of_another_name_is_refused(device: str) -> None:
    with pytest.raises(ValidationError, match="is not auto, cpu, cuda or cuda:N"):
        Settings(device=device)


def test_the_threads_are_divided_among_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.settings.available_cores", lambda: 12)
    assert Settings(device="cuda:0,cuda:1,cpu").threads_per_engine == 4
    assert Settings(device="cpu,cpu").threads_per_engine == 12
    assert Settings(device="cpu", threads=1).threads_per_engine == 1


def test_the_cache_is_a_folder_or_the_name_of_a_new_one_or_none(tmp_path: Path) -> None:
    for cache in (None, "", str(tmp_path), str(tmp_path / "new")):
        assert Settings(cache=cache).cache == cache


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValidationError, match=r"file' is not a folder; it must be one"):
        Settings(cache=str(file))


@pytest.mark.parametrize(
    ("given", "path"),
    [("", ""), ("/", ""), ("/ddpm", "/ddpm"), ("/ddpm/", "/ddpm"), ("/a/b-c.d", "/a/b-c.d")],
)
def test_a_root_path_has_no_slash_at_its_end(given: str, path: str) -> None:
    assert Settings(root_path=given).root_path == path


@pytest.mark.parametrize(
    "path", ["ddpm", "//evil.example", "/a//b", "/a b", "/ä", '/"><script>', "/../x", "/a/."]
)
def test_what_is_no_plain_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="it must be a path such as /ddpm"):
        Settings(root_path=path)


def test_origins_are_as_browsers_write_them() -> None:
    assert Settings().origins == []
    listed = "https://lab.example.org, http://localhost:8888,http://[::1]:3000, *"
    assert Settings(cors_origins=listed).origins == [
        "https://lab.example.org", "http://localhost:8888", "http://[::1]:3000", "*",
    ]  # fmt: skip
    assert Settings(cors_origins="vscode-webview://0a1b").origins == ["vscode-webview://0a1b"]


@pytest.mark.parametrize(
    "origin",
    [
        "lab.example.org",
        "https://lab.example.org/",
        "https://lab.example.org/notebook",
        "https://Lab.example.org",
        "https://*.example.org",
        "https://lab.example.org:443",
        "http://lab.example.org:80",
        "null",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="nor an origin as browsers write it"):
        Settings(cors_origins=f"https://good.example.org,{origin}")


@pytest.mark.parametrize("seconds", [0, -1, "x"])
def test_an_idle_connection_is_kept_for_a_second_or_more(seconds: object) -> None:
    assert Settings().keep_alive_seconds == 75
    with pytest.raises(ValidationError):
        Settings(keep_alive_seconds=seconds)


def test_every_key_is_long_enough_to_be_one() -> None:
    long, short = "a" * 16, "b" * 15
    assert Settings(api_keys=f"{long}, {long}").keys == [long, long]
    with pytest.raises(ValidationError, match="at least 16 characters"):
        Settings(api_keys=f"{long},{short}")
    with pytest.raises(ValidationError, match="printable ASCII"):
        Settings(api_keys=long + "é")


def test_the_secrets_are_known() -> None:
    assert SECRETS == {"api_keys", "webhook_secret"}


def test_results_are_in_the_jobs_folder_unless_another_place_is_named(tmp_path: Path) -> None:
    assert Settings(jobs_folder=tmp_path).results_url == f"{tmp_path}/results"
    assert Settings(jobs_folder=tmp_path, jobs_results="s3://b/c").results_url == "s3://b/c"


@pytest.mark.parametrize("url", ["sqlite:///jobs.sqlite", "sqlite:////var/jobs.sqlite"])
def test_a_database_may_be_a_file(url: str) -> None:
    check_database_url(url)
    assert Settings(jobs_url=url).jobs_url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jobs.sqlite", "not a database URL"),
        ("mysql://user@host/jobs", "'mysql' is not sqlite or postgresql"),
        ("sqlite://", "it names no file: sqlite:///FILE"),
        ("sqlite:///", "it names no file: sqlite:///FILE"),
        ("sqlite:///?mode=ro", "it names no file: sqlite:///FILE"),
        ("postgresql://host:port/jobs", "Port could not be cast"),
    ],
)
def test_a_database_of_another_form_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings(jobs_url=url)


def test_postgresql_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://user@host/jobs"
    monkeypatch.setattr("app.settings.find_spec", lambda _: None)
    with pytest.raises(ValidationError, match="PostgreSQL needs the extra 'postgres'"):
        Settings(jobs_url=url)
    monkeypatch.setattr("app.settings.find_spec", lambda name: name)
    assert Settings(jobs_url=url).jobs_url == url


def test_reading_the_settings_loads_no_database_and_no_file_system() -> None:
    check = "import sys, app.settings; app.settings.Settings(); print(*sys.modules)"
    command = [sys.executable, "-c", check]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in shown.split()}
    assert not {"sqlalchemy", "alembic", "fsspec", "torch", "numpy", "fastapi"} & loaded
