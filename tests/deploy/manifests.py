"""The manifests of deploy/kubernetes as `kubectl apply -k` would send them, and what is in them."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.crd import SCHEMAS

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    """The manifests that a kustomization describes. Skips the test without a kustomize."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is here")
    built = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


@cache
def built(name: str) -> list[Manifest]:
    """The manifests of a folder of deploy/kubernetes."""
    return build(FOLDER / name)


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The templates of pods."""
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["spec"]["template"]
        if each["kind"] == "RayService":
            cluster = each["spec"]["rayClusterConfig"]
            yield cluster["headGroupSpec"]["template"]
            yield from (group["template"] for group in cluster["workerGroupSpecs"])


def server(manifests: list[Manifest]) -> Manifest:
    """The template of the server's pods."""
    pod: Manifest = of_kind(manifests, "Deployment")["denoiser"]["spec"]["template"]
    return pod


def variables(manifests: list[Manifest]) -> dict[str, str]:
    """The environment of the server; a secret's value is its name."""
    (container,) = server(manifests)["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for entry in container["env"]:
        found[entry["name"]] = entry.get("value") or entry["valueFrom"]["secretKeyRef"]["name"]
    return found


def check(manifest: Manifest, version: str) -> None:
    """Raise ValidationError for what this version of Kubernetes, or the operator, refuses."""
    schema = SCHEMAS / f"{manifest['kind'].lower()}.json"
    if not schema.exists():
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    jsonschema.validate(manifest, json.loads(schema.read_text()))
    for pod in pods([manifest]):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": pod}
        kubernetes_validate.validate(template, version, strict=True)


RIGHTS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def check_rights(pod: Manifest) -> None:
    """Raise AssertionError for a pod that has more than the strictest standard allows, or that
    could take a whole node."""
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in spec["containers"]:
        assert each["securityContext"] == RIGHTS
        assert {"cpu", "memory"} <= each["resources"]["limits"].keys()


def references(pod: Manifest) -> Iterator[tuple[str, str]]:
    """The kind and name of each object that the pod needs."""
    for volume in pod["spec"].get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
    for each in pod["spec"]["containers"]:
        for source in each.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
        for entry in each["env"]:
            if "valueFrom" in entry:
                yield "Secret", entry["valueFrom"]["secretKeyRef"]["name"]


MADE_BY_HAND = {
    "denoiser-keys", "denoiser-webhook", "denoiser-hub", "denoiser-s3", "denoiser-postgres"
}  # fmt: skip
"""Secrets that docs/deploy.md tells how to make."""


def check_references(manifests: list[Manifest]) -> None:
    """Raise AssertionError for what a pod needs and nobody makes."""
    page = (FOLDER.parents[1] / "docs/deploy.md").read_text()
    for pod in pods(manifests):
        for kind, name in references(pod):
            if kind == "Secret":
                assert name in MADE_BY_HAND and name in page
            else:
                assert name in of_kind(manifests, kind)
