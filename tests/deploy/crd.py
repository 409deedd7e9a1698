"""Schemas of custom resources, made from their published definitions.

    python -m tests.deploy.crd NAME=CRD.yaml … --of PROJECT@VERSION

writes tests/deploy/schemas/NAME.json: the schema of the newest version, without descriptions, in
which a field that is not known is an error, as it is for `kubectl apply`. Pods, services and what
the operator writes itself are left out: Kubernetes' own schemas have those.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).parent / "schemas"
TYPES = {"type", "properties", "items", "required", "enum", "additionalProperties", "anyOf"}
BOUNDS = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"}
OTHERS = {"template", "headService", "serveService", "status"}
"""Fields whose schemas are Kubernetes' own, or which nobody but the operator writes."""


def trimmed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with only what a resource can be wrong in."""
    kept = {key: value for key, value in schema.items() if key in TYPES | BOUNDS}
    if "properties" in kept:
        kept["properties"] = {
            name: {"type": "object"} if name in OTHERS else trimmed(field)
            for name, field in schema["properties"].items()
        }
        kept.setdefault("additionalProperties", False)
    if isinstance(kept.get("items"), dict):
        kept["items"] = trimmed(schema["items"])
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = trimmed(schema["additionalProperties"])
    return kept


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    """The trimmed schema of the version that is stored. Raises StopIteration without one."""
    spec = definition["spec"]
    version = next(each for each in spec["versions"] if each["storage"])
    schema = trimmed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["apiVersion"] = {"const": f"{spec['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": spec["names"]["kind"]}
    return schema


def main() -> None:
    """Write a schema for each definition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("definitions", nargs="+", metavar="NAME=CRD.yaml")
    parser.add_argument("--of", required=True, help="where they were published")
    args = parser.parse_args()
    for entry in args.definitions:
        name, _, path = entry.partition("=")
        schema = {
            "$comment": f"made from {args.of}",
            **schema_of(yaml.safe_load(Path(path).open())),
        }
        (SCHEMAS / f"{name}.json").write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
