"""deploy/kubernetes fits Kubernetes, the operators that it names, and the server's own settings."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.environment import PREFIX, is_services, unknown_variables
from app.jobs.background import STOP_SECONDS
from app.pool.child import STOP_SECONDS as ENGINE_SECONDS
from app.routes.system import PROBES
from app.serve import ANSWER_SECONDS, EXIT_SECONDS
from app.settings import Settings
from diffusion import __version__
from tests.deploy.manifests import (
    FOLDER,
    Manifest,
    build,
    built,
    check,
    check_references,
    check_rights,
    of_kind,
    pods,
    server,
    variables,
)

ROOT = FOLDER.parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OVERLAYS = ("base", "gpu", "postgres")
OLDEST, NEWEST = "1.30", "1.37"
"""The versions of Kubernetes: the one that docs/deploy.md promises, and the newest with schemas."""
GIB = 1 << 30


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The kustomization of the page's example: all components on `postgres`."""
    folder = tmp_path_factory.mktemp("mine") / "kubernetes"
    shutil.copytree(FOLDER, folder)
    page = (ROOT / "docs/deploy.md").read_text()
    (folder / "mine").mkdir()
    example = re.search(r"```yaml\n(apiVersion: kustomize.*?)```", page, re.DOTALL)
    assert example, "the page has an example"
    (folder / "mine" / "kustomization.yaml").write_text(example[1])
    return build(folder / "mine")


@pytest.fixture(params=(*OVERLAYS, "combined"))
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    if request.param in OVERLAYS:
        return built(request.param)
    found: list[Manifest] = request.getfixturevalue("combined")
    return found


def container(manifests: list[Manifest]) -> Manifest:
    (found,) = server(manifests)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """What the server's process finds: the image's variables, and those of the manifest."""
    image = dict(re.findall(r"\b(DDPM_\w+)=(\S+)", DOCKERFILE))
    return image | variables(manifests)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_and_the_operators_know_every_field(
    manifests: list[Manifest], version: str
) -> None:
    for manifest in manifests:
        check(manifest, version)


def test_a_field_that_nobody_knows_is_found() -> None:
    deployment = of_kind(built("base"), "Deployment")["denoiser"]
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(jsonschema.ValidationError):
        check(wrong, NEWEST)


def test_every_variable_is_a_setting_and_every_value_is_allowed(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(manifests)
    assert not unknown_variables(given, Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.api_keys_file == "/etc/denoiser/keys.toml"
    assert settings.log_format == "json"


def test_the_servers_work_on_the_device_that_the_pod_has(manifests: list[Manifest]) -> None:
    has_gpu = "nvidia.com/gpu" in container(manifests)["resources"]["limits"]
    assert variables(manifests)["DDPM_DEVICE"] == ("cuda" if has_gpu else "cpu")
    assert container(manifests)["image"].endswith("-gpu") == has_gpu


def test_the_image_has_the_version_and_the_user_of_this_code(manifests: list[Manifest]) -> None:
    assert re.search(rf":{re.escape(__version__)}(-gpu)?$", container(manifests)["image"])
    uid = re.search(r"useradd --uid (\d+)", DOCKERFILE)[1]
    assert server(manifests)["spec"]["securityContext"]["runAsUser"] == int(uid)


def test_ports_have_one_name_from_the_socket_to_prometheus(manifests: list[Manifest]) -> None:
    (port,) = container(manifests)["ports"]
    assert port == {"name": "http", "containerPort": Settings.model_fields["port"].default}
    (offered,) = of_kind(manifests, "Service")["denoiser"]["spec"]["ports"]
    assert offered["targetPort"] == "http" and offered["name"] == "http"
    policy = of_kind(manifests, "NetworkPolicy")["denoiser"]["spec"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": "http"}]]
    for monitor in of_kind(manifests, "ServiceMonitor").values():
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] == "http" and endpoint["path"] in PROBES


def test_probes_ask_what_the_server_answers(manifests: list[Manifest]) -> None:
    asked = {
        name: container(manifests)[f"{name}Probe"]["httpGet"]
        for name in ("startup", "liveness", "readiness")
    }
    assert asked["readiness"] == {"path": "/readyz", "port": "http"}
    assert asked["startup"] == asked["liveness"] == {"path": "/livez", "port": "http"}


def test_a_pod_has_time_for_its_last_requests(manifests: list[Manifest]) -> None:
    pause = int(container(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(variables(manifests)["DDPM_SHUTDOWN_SECONDS"])
    needed = pause + drain + ANSWER_SECONDS + STOP_SECONDS + ENGINE_SECONDS + EXIT_SECONDS
    assert server(manifests)["spec"]["terminationGracePeriodSeconds"] >= needed


def test_no_service_has_a_name_that_makes_variables_of_ours(manifests: list[Manifest]) -> None:
    for name in of_kind(manifests, "Service"):
        prefix = name.upper().replace("-", "_")
        assert not prefix.startswith(PREFIX.rstrip("_"))
        assert not is_services(f"{prefix}_PORT", "tcp://10.0.0.1:8000")
    for pod in pods(manifests):
        assert pod["spec"]["enableServiceLinks"] is False


def test_pods_have_no_more_rights_than_the_strictest_standard_allows(
    manifests: list[Manifest],
) -> None:
    (namespace,) = of_kind(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(manifests):
        check_rights(pod)
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_what_the_server_writes_to_is_a_volume(manifests: list[Manifest]) -> None:
    mounts = {each["mountPath"] for each in container(manifests)["volumeMounts"]}
    written = re.search(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)[1].split()
    assert {*written, "/tmp"} <= mounts
    volumes = {each["name"] for each in server(manifests)["spec"]["volumes"]}
    assert volumes == {each["name"] for each in container(manifests)["volumeMounts"]}


def test_the_volume_of_jobs_has_room_for_their_budget(manifests: list[Manifest]) -> None:
    (claim,) = of_kind(manifests, "PersistentVolumeClaim").values()
    size = re.fullmatch(r"(\d+)Gi", claim["spec"]["resources"]["requests"]["storage"])
    assert int(size[1]) * GIB > Settings.model_fields["jobs_budget_bytes"].default


def test_servers_that_share_jobs_share_a_database_and_a_volume(manifests: list[Manifest]) -> None:
    deployment = of_kind(manifests, "Deployment")["denoiser"]["spec"]
    (claim,) = of_kind(manifests, "PersistentVolumeClaim").values()
    is_shared = "DDPM_JOBS_URL" in variables(manifests)
    assert deployment["strategy"]["type"] == ("RollingUpdate" if is_shared else "Recreate")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany" if is_shared else "ReadWriteOnce"]
    assert is_shared or deployment["replicas"] == 1


def test_everything_that_a_pod_refers_to_is_there_or_told_of(manifests: list[Manifest]) -> None:
    check_references(manifests)


def selectors(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and selector of each object that selects pods."""
    for each in manifests:
        spec = each.get("spec", {})
        name = each["metadata"]["name"]
        if each["kind"] == "Service":
            yield name, spec["selector"]
        if each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            yield name, spec["selector"]["matchLabels"]
        if each["kind"] == "NetworkPolicy":
            yield name, spec["podSelector"]["matchLabels"]


def test_a_selector_finds_the_pods_of_its_name_alone(manifests: list[Manifest]) -> None:
    labels = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods(manifests)}
    for name, selector in selectors(manifests):
        assert selector == {"app.kubernetes.io/name": name} and name in labels


def test_a_server_reaches_no_private_address_but_its_database(manifests: list[Manifest]) -> None:
    rules = of_kind(manifests, "NetworkPolicy")["denoiser"]["spec"]["egress"]
    blocks = [to["ipBlock"] for rule in rules for to in rule["to"] if "ipBlock" in to]
    (v4,) = (block for block in blocks if block["cidr"] == "0.0.0.0/0")
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= {*v4["except"]}
    inside = [to["podSelector"] for rule in rules for to in rule["to"] if "podSelector" in to]
    has_database = "denoiser-postgres" in of_kind(manifests, "StatefulSet")
    wanted = {"matchLabels": {"app.kubernetes.io/name": "denoiser-postgres"}}
    assert inside == ([wanted] if has_database else [])


def test_the_policy_of_the_overlay_has_all_that_the_base_has() -> None:
    base = of_kind(built("base"), "NetworkPolicy")["denoiser"]["spec"]
    over = of_kind(built("postgres"), "NetworkPolicy")["denoiser"]["spec"]
    assert over["egress"][:-1] == base["egress"]
    assert over["ingress"] == base["ingress"]


def test_keda_scales_by_a_metric_that_the_server_has(combined: list[Manifest]) -> None:
    (scaled,) = of_kind(combined, "ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    (metric,) = re.findall(r"\bddpm_\w+", query)
    assert f"`{metric}`" in (ROOT / "docs/operations.md").read_text()
    assert re.findall(r'job="([^"]+)"', query) == ["denoiser"], "the Service's name"
    assert scaled["spec"]["scaleTargetRef"]["name"] in of_kind(combined, "Deployment")
    assert "replicas" not in of_kind(combined, "Deployment")["denoiser"]["spec"]


def test_the_page_names_the_oldest_version() -> None:
    assert f"Kubernetes {OLDEST} or newer" in (ROOT / "docs/deploy.md").read_text()


def test_every_folder_is_tested() -> None:
    folders = {path.parent.relative_to(FOLDER) for path in FOLDER.rglob("kustomization.yaml")}
    components = {Path("components", name) for name in ("gpu", "monitoring", "autoscaling")}
    assert folders == {Path(name) for name in (*OVERLAYS, "ray")} | components
