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
    if schema.exists():
        jsonschema.validate(manifest, json.loads(schema.read_text()))
    else:
        kubernetes_validate.validate(manifest, version, strict=True)
