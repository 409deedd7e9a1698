"""The environment's variables: ours, misspelt ones, and those that Kubernetes makes."""

import pytest

from app.environment import service_variables, unknown_variables
from app.flags import read_settings
from app.settings import Settings

SERVICE = {
    "DDPM_PORT": "tcp://10.0.0.1:8000",
    "DDPM_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "DDPM_PORT_8000_TCP_ADDR": "10.0.0.1",
    "DDPM_PORT_8000_TCP_PORT": "8000",
    "DDPM_PORT_8000_TCP_PROTO": "tcp",
    "DDPM_SERVICE_HOST": "10.0.0.1",
    "DDPM_SERVICE_PORT": "8000",
    "DDPM_SERVICE_PORT_HTTP": "8000",
}
"""What a pod gets for a Service named ddpm with the port 8000, named http."""
OTHER_SERVICE = {
    "DDPM_JOBS_PORT": "tcp://10.0.0.2:5432",
    "DDPM_JOBS_PORT_5432_TCP": "tcp://10.0.0.2:5432",
    "DDPM_JOBS_SERVICE_HOST": "10.0.0.2",
    "DDPM_JOBS_SERVICE_PORT": "5432",
}
"""And for one named ddpm-jobs."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SERVICE, **OTHER_SERVICE}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("service")
def test_the_address_of_a_service_is_no_port_to_listen_on() -> None:
    assert Settings().port == 8000
    assert read_settings(["--host=0.0.0.0"]).port == 8000
    assert read_settings(["--port=9000"]).port == 9000


@pytest.mark.parametrize("name", ["DDPM_PORT", "ddpm_port"])
@pytest.mark.parametrize("value", ["udp://10.0.0.1:8000", "sctp://[fd00::1]:8000"])
def test_the_address_of_a_service_of_another_protocol_is_no_port(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert Settings().port == 8000


@pytest.mark.parametrize("value", ["8000x", "http://10.0.0.1:8000", ""])
def test_another_value_that_is_no_number_is_still_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPM_PORT", value)
    with pytest.raises(ValueError, match="port"):
        Settings()


def test_a_flag_is_never_taken_for_kubernetes() -> None:
    with pytest.raises(ValueError, match="port"):
        read_settings(["--port=tcp://10.0.0.1:8000"])


def test_the_variables_of_a_service_are_known_and_not_taken_for_slips() -> None:
    variables = {**SERVICE, **OTHER_SERVICE, "DDPM_HOST": "::", "DDPM_PROT": "1", "HOME": "/"}
    assert service_variables(variables) == sorted({**SERVICE, **OTHER_SERVICE})
    assert unknown_variables(variables, Settings.model_fields) == ["DDPM_PROT"]


def test_variables_that_set_nothing_are_found() -> None:
    names = ["DDPM_PORT", "ddpm_max_batch", "DDPM_MAX_BATCHES", "DDPM_API_KEY", "HOME"]
    variables = dict.fromkeys(names, "1")
    found = unknown_variables(variables, Settings.model_fields)
    assert found == ["DDPM_API_KEY", "DDPM_MAX_BATCHES"]
