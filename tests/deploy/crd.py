"""Schemas of custom resources and of compose files, made from those that their projects publish.

    python -m tests.deploy.crd NAME=CRD.yaml … --of PROJECT@VERSION
    python -m tests.deploy.crd compose=compose-spec.json --of PROJECT@VERSION

writes tests/deploy/schemas/NAME.json. Of the definition of a custom resource that is the schema of
the stored version, without descriptions, in which a field that is not known is an error, as it is
for `kubectl apply`. Pods, services and what the operator writes itself are left out: Kubernetes'
own schemas have those. Of a JSON schema it is the same schema without descriptions.
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


def undescribed(schema: Any) -> Any:
    """A JSON schema without the descriptions; a property of that name stays."""
    if isinstance(schema, list):
        return [undescribed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: undescribed(value)
        for key, value in schema.items()
        if key not in ("$id", "description") or isinstance(value, dict)
    }


def main() -> None:
    """Write a schema for each definition."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("definitions", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--of", required=True, help="where they were published")
    args = parser.parse_args()
    for entry in args.definitions:
        name, _, path = entry.partition("=")
        published = yaml.safe_load(Path(path).read_text())
        schema = schema_of(published) if "spec" in published else undescribed(published)
        schema["$comment"] = f"made from {args.of}"
        (SCHEMAS / f"{name}.json").write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
