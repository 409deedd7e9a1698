"""Settings with which a cluster cannot be: one line says so, before anything runs."""

import tempfile
from pathlib import Path

import pytest

from app.cluster.checks import check_arguments, check_devices, check_temporary_folder
from app.settings import SettingError, Settings


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("api_keys", "api_keys is a secret"), ("port", "port is for Ray's proxy"),
        ("tls_key", "tls_key is for Ray's proxy"), ("cluster", "for a Ray that runs"),
        ("chekpoint", "chekpoint is not a setting"), ("DDPM_PORT", "DDPM_PORT is not a setting"),
    ],
)  # fmt: skip
def test_an_argument_is_a_setting_of_the_application(name: str, reason: str) -> None:
    check_arguments(["checkpoint", "cluster_engines", "log_format"])
    with pytest.raises(SettingError, match=reason) as error:
        check_arguments(["checkpoint", name])
    assert error.value.name == name


def test_an_engine_of_a_cluster_has_one_device() -> None:
    check_devices(Settings(device="cuda,cuda:0"))
    with pytest.raises(SettingError, match="cluster_engines says how many there are"):
        check_devices(Settings(device="cuda:0,cuda:1"))


def test_a_folder_for_temporary_files_has_room_for_the_names_of_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    check_temporary_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("a" * 60)))
    with pytest.raises(SettingError, match=r"of at most \d\d bytes, such as /tmp"):
        check_temporary_folder()
