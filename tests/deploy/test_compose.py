"""docker-compose.yml fits its specification and our settings, and limits what a service may do."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.environment import PREFIX, unknown_variables
from app.jobs.background import STOP_SECONDS
from app.pool.child import STOP_SECONDS as ENGINE_SECONDS
from app.serve import ANSWER_SECONDS, EXIT_SECONDS
from app.settings import GROUPS, Settings
from tests.deploy.compose import FILE, ROOT, environment, interpolated, load
from tests.deploy.crd import SCHEMAS

HAPROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
PROFILES = {"gpu", "postgres", "ray", "replicas", "monitoring"}
SERVICES = load()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
IN_THE_IMAGE = {"host", "port", "jobs_folder"}
"""Settings that are the image's own."""
TARGETS = {"ddpm-gpu": "gpu", "ddpm-ray": "ray"}
"""Those of the images that are not for one server on a CPU."""
WITHOUT_A_USE_HERE = {
    "jobs_url", "jobs_results",  # the profiles say where jobs are kept
    "tls_certificate", "tls_key",  # the published ports are this machine's alone
}  # fmt: skip

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"), ("${A:-2}", "1"), ("${A:+3}", "3"),
        ("${EMPTY}", ""), ("${EMPTY:-2}", "2"), ("${EMPTY-2}", ""), ("${EMPTY:+3}", ""),
        ("${NONE}", ""), ("${NONE:-2}", "2"), ("${NONE:-./a b}/c", "./a b/c"), ("${NONE:+3}", ""),
    ],
)  # fmt: skip
def test_variables_are_put_in_as_compose_does(text: str, value: str) -> None:
    assert interpolated(text, {"A": "1", "EMPTY": ""}) == value


def test_the_file_fits_the_compose_specification() -> None:
    schema = json.loads((SCHEMAS / "compose.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(load())
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"services": {"a": {"imagee": "b"}}})


def test_every_profile_is_told_of() -> None:
    assert {profile for each in SERVICES.values() for profile in each.get("profiles", [])} == (
        PROFILES
    )
    page = (ROOT / "docs/deploy.md").read_text()
    for profile in PROFILES:
        assert f"docker compose --profile {profile} up" in page
        assert f"docker compose --profile {profile} up" in FILE.read_text()


def test_without_a_profile_there_is_one_server() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["ddpm"]


@each_service
def test_what_a_service_needs_is_in_its_profiles(name: str) -> None:
    for needed in SERVICES[name].get("depends_on", ()):
        assert set(SERVICES[name]["profiles"]) <= set(SERVICES[needed]["profiles"])


@each_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "cap_add" not in service


@each_service
def test_a_service_cannot_take_the_whole_machine(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[gm]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert all("size=" in place for place in service.get("tmpfs", []))
    assert service["logging"] == {"driver": "local"}, "whose files are rotated"


def test_services_are_published_on_this_machine_alone_each_at_its_own_port() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_the_database_is_reached_by_its_servers_alone() -> None:
    assert load()["networks"]["database"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["database"]
    members = {name for name, each in SERVICES.items() if "database" in each.get("networks", [])}
    assert members == {"postgres", "ddpm-postgres", "replica"}
    for name in members - {"postgres"}:
        given = environment(SERVICES[name])
        user = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
        assert given["DDPM_JOBS_URL"] == f"postgresql://{user}@postgres/{user}"
        assert given["PGPASSWORD"] == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]


@each_service
def test_every_file_and_volume_that_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists() and mount.endswith(":ro")
        else:
            assert source in load()["volumes"]


@each_of_ours
def test_servers_with_other_stores_have_other_volumes(name: str) -> None:
    (jobs,) = (mount for mount in OURS[name]["volumes"] if mount.endswith(":/jobs"))
    is_shared = "DDPM_JOBS_URL" in environment(OURS[name])
    others = [
        other for other, service in OURS.items() if jobs in service["volumes"] and other != name
    ]
    assert is_shared or not others


@each_of_ours
def test_checkpoints_of_ones_own_can_be_read_and_not_changed(name: str) -> None:
    assert "checkpoints:/checkpoints:ro" in OURS[name]["volumes"]
    mine = load({"CHECKPOINTS": "./runs"})["services"][name]
    assert "./runs:/checkpoints:ro" in mine["volumes"]


@each_of_ours
def test_api_keys_come_as_a_secret(name: str) -> None:
    assert OURS[name]["secrets"] == ["api_keys"]
    assert OURS[name]["environment"]["DDPM_API_KEYS_FILE"] == "", "without a file there are none"
    given = load({"DDPM_API_KEYS_FILE": "./keys.toml"})
    assert given["secrets"]["api_keys"] == {"file": "./keys.toml"}
    path = given["services"][name]["environment"]["DDPM_API_KEYS_FILE"]
    assert path == "/run/secrets/api_keys"


@each_of_ours
@pytest.mark.parametrize("group", ["server", "limits", "jobs", "security"])
def test_every_limit_and_every_setting_of_security_can_be_set(name: str, group: str) -> None:
    names = set(GROUPS[group].model_fields) - IN_THE_IMAGE - WITHOUT_A_USE_HERE
    assert {PREFIX + each.upper() for each in names} <= OURS[name]["environment"].keys()


@each_of_ours
def test_every_variable_is_a_setting_and_every_value_is_allowed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dict.fromkeys(OURS[name]["environment"], "")
    assert not unknown_variables(names, Settings.model_fields)
    for key, value in environment(OURS[name]).items():
        monkeypatch.setenv(key, value)
    assert Settings().device == ("cuda" if name == "ddpm-gpu" else "cpu")


@each_of_ours
def test_a_server_has_time_for_its_last_requests(name: str) -> None:
    drain = Settings.model_fields["shutdown_seconds"].default
    needed = drain + ANSWER_SECONDS + STOP_SECONDS + ENGINE_SECONDS + EXIT_SECONDS
    assert int(OURS[name]["stop_grace_period"].removesuffix("s")) >= needed


@each_of_ours
def test_the_image_is_that_of_the_device(name: str) -> None:
    target = TARGETS.get(name, "cpu")
    assert OURS[name]["build"]["target"] == target
    assert OURS[name]["image"] == ("ddpm-service" if target == "cpu" else f"ddpm-service:{target}")


def test_ray_has_a_server_of_its_own_with_every_setting_of_engines() -> None:
    given = OURS["ddpm-ray"]["environment"]
    on_this_device = set(GROUPS["cluster"].model_fields) - {"cluster_engine_gpus"}
    assert {PREFIX + name.upper() for name in on_this_device} <= given.keys()
    assert given["DDPM_CLUSTER"] == "auto"


def test_prometheus_asks_every_server_and_the_proxy() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    servers, proxy = (each["dns_sd_configs"][0] for each in config["scrape_configs"])
    assert set(servers["names"]) == set(OURS)
    assert servers["port"] == Settings.model_fields["port"].default
    (metrics,) = re.findall(r"presetenv METRICS :(\d+)", HAPROXY)
    assert proxy["names"] == ["proxy"] and proxy["port"] == int(metrics)


def test_the_proxy_finds_the_servers_by_their_name_and_waits_as_long_as_they_do() -> None:
    (name, port) = re.findall(r"presetenv SERVERS (\w+):(\d+)", HAPROXY)[0]
    assert name in OURS and int(port) == Settings.model_fields["port"].default
    (listens,) = re.findall(r"presetenv LISTEN :(\d+)", HAPROXY)
    assert SERVICES["proxy"]["ports"][0].endswith(f":{listens}")
    (wait,) = re.findall(r"timeout server (\d+)h", HAPROXY)
    assert int(wait) * 3600 >= Settings.model_fields["max_wait_seconds"].default
    (idle,) = re.findall(r"timeout http-keep-alive (\d+)s", HAPROXY)
    assert int(idle) < Settings.model_fields["keep_alive_seconds"].default


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    grafana = SERVICES["grafana"]
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus" and source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards/ddpm.yml").read_text())["providers"]
    mounted = {Path(mount.split(":")[1]): mount.split(":")[0] for mount in grafana["volumes"]}
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert mounted[home] == "./deploy/grafana/ddpm.json"
    assert home.parent == Path(provider["options"]["path"])
