"""deploy/kubernetes/ray fits KubeRay, Ray's version and our settings, and closes Ray's ports."""

import re
from typing import Any

import pytest
import yaml

from app.settings import SECRETS, Settings
from tests.deploy.manifests import (
    FOLDER,
    RIGHTS,
    Manifest,
    built,
    check,
    check_references,
    check_rights,
    of_kind,
    pods,
)

ROOT = FOLDER.parents[1]
OUTSIDE = ({"port": "serve"}, {"port": 8265})
"""The ports that others than Ray's nodes may reach; the second one is the operator's."""


@pytest.fixture
def manifests() -> list[Manifest]:
    return built("ray")


@pytest.fixture
def cluster(manifests: list[Manifest]) -> Manifest:
    found: Manifest = of_kind(manifests, "RayService")["denoiser"]["spec"]["rayClusterConfig"]
    return found


def served(manifests: list[Manifest]) -> dict[str, Any]:
    """Ray Serve's configuration in the manifest."""
    text = of_kind(manifests, "RayService")["denoiser"]["spec"]["serveConfigV2"]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_kubernetes_and_kuberay_know_every_field(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        check(manifest, "1.37")


def test_there_are_no_servers_beside_those_of_ray(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Deployment")
    assert set(of_kind(manifests, "Service")) == {"denoiser-postgres"}


def test_ray_serve_is_told_the_same_as_without_kubernetes(manifests: list[Manifest]) -> None:
    here, there = served(manifests), yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    assert here["http_options"] == there["http_options"]
    assert here["logging_config"] == there["logging_config"]
    (ours,), (theirs,) = here["applications"], there["applications"]
    assert {**ours, "args": None} == {**theirs, "args": None}


def test_what_is_given_to_the_application_are_settings(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    (application,) = served(manifests)["applications"]
    given = application["args"]
    assert given.keys() <= Settings.model_fields.keys() - SECRETS
    for name, value in given.items():
        monkeypatch.setenv(f"DDPM_{name.upper()}", str(value))
    (group,) = of_kind(manifests, "RayService")["denoiser"]["spec"]["rayClusterConfig"][
        "workerGroupSpecs"
    ]
    assert Settings().cluster_max_engines == group["maxReplicas"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert Settings().cluster_engine_cpus == float(limits["cpu"])


def test_ray_has_the_version_of_the_image(cluster: Manifest) -> None:
    lock = (ROOT / "deploy/requirements-ray.txt").read_text()
    assert re.search(r"^ray==(\S+)", lock, re.MULTILINE)[1] == cluster["rayVersion"]
    for pod in pods(built("ray")):
        images = [each["image"] for each in pod["spec"]["containers"]]
        assert all(image.endswith("-ray") or "postgres" in image for image in images)


def test_ray_asks_for_a_token(cluster: Manifest) -> None:
    assert cluster["authOptions"] == {"mode": "token"}


def test_rays_ports_are_closed_to_all_but_its_nodes(manifests: list[Manifest]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["denoiser-ray"]["spec"]
    nodes = {"podSelector": policy["podSelector"]}
    for pod in pods([of_kind(manifests, "RayService")["denoiser"]]):
        wanted = policy["podSelector"]["matchLabels"]
        assert wanted.items() <= pod["metadata"]["labels"].items()
    others = [rule for rule in policy["ingress"] if rule["from"] != [nodes]]
    assert all(port in OUTSIDE for rule in others for port in rule["ports"])
    (operator,) = (rule for rule in others if {"port": 8265} in rule["ports"])
    (peer,) = operator["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "kuberay-operator"
    }


def test_the_database_admits_the_nodes_of_ray(manifests: list[Manifest]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["denoiser-postgres"]["spec"]
    ((peer,),) = (rule["from"] for rule in policy["ingress"])
    nodes = of_kind(manifests, "NetworkPolicy")["denoiser-ray"]["spec"]["podSelector"]
    assert peer["podSelector"] == nodes


def test_pods_have_no_more_rights_than_the_strictest_standard_allows(
    manifests: list[Manifest], cluster: Manifest
) -> None:
    for pod in pods(manifests):
        check_rights(pod)
        assert pod["spec"]["enableServiceLinks"] is False
    assert cluster["autoscalerOptions"]["securityContext"] == RIGHTS


def test_everything_that_a_pod_refers_to_is_there_or_told_of(manifests: list[Manifest]) -> None:
    check_references(manifests)
