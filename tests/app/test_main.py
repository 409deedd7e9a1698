"""The app as it is put together, before anything of it runs."""

from pathlib import Path

import pytest

from app.main import check_storage, create_app
from app.settings import SettingError, Settings


def test_an_app_has_every_route_of_the_contract() -> None:
    app = create_app(Settings(), on_unusable=print)
    assert {"/sample", "/denoise-trajectory", "/model", "/jobs/{job_id}"} <= set(
        app.openapi()["paths"]
    )


def test_an_engine_is_made_for_each_distinct_device() -> None:
    app = create_app(Settings(device="cpu,cuda:1,cpu"), on_unusable=print)
    engines = app.state.services.pool.engines
    assert [(engine.name, engine.place) for engine in engines] == [
        ("0", "device: cpu"), ("1", "device: cuda:1")
    ]  # fmt: skip


def test_making_an_app_opens_and_makes_nothing(tmp_path: Path) -> None:
    create_app(Settings(jobs_folder=tmp_path / "jobs"), on_unusable=print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [("s3://bucket/prefix", "fsspec lacks a package for it"), ("odd://x", "Protocol not known")],
)
def test_results_that_cannot_be_reached_from_here_are_refused(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks_s3(url: str, **_: object) -> None:
        raise (
            ImportError("Install s3fs to access S3")
            if url.startswith("s3:")
            else ValueError("Protocol not known: odd")
        )

    monkeypatch.setattr("fsspec.url_to_fs", lacks_s3)
    with pytest.raises(SettingError, match=reason) as error:
        check_storage(Settings(jobs_results=url))
    assert (error.value.name, error.value.value) == ("jobs_results", url)


def test_a_database_that_passes_the_settings_and_not_the_driver_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("app.main.database_url", refuse)
    with pytest.raises(SettingError, match="no such thing") as error:
        check_storage(Settings(jobs_url="sqlite:///jobs.sqlite"))
    assert error.value.name == "jobs_url"


@pytest.mark.parametrize("root", ["/jobs", "/model", "/docs", "/playground", "/openapi.json"])
def test_a_proxys_prefix_is_no_path_of_the_service(root: str) -> None:
    with pytest.raises(SettingError, match="it is a path of the service itself") as error:
        create_app(Settings(root_path=root), on_unusable=print)
    assert (error.value.name, error.value.value) == ("root_path", root)


@pytest.mark.parametrize("root", ["/ddpm", "/job", "/jobs2", "/a/jobs"])
def test_it_may_be_any_other(root: str) -> None:
    assert create_app(Settings(root_path=root), on_unusable=print)
