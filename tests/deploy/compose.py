"""docker-compose.yml as `docker compose config` would show it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-+])([^}]*))?\}")


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with the values of `variables` in place of ${NAME}, ${NAME:-else}, ${NAME:+then}."""

    def value(found: re.Match[str]) -> str:
        name, operator, other = found.groups()
        is_set = bool(variables.get(name)) if operator and ":" in operator else name in variables
        if operator and operator.endswith("+"):
            return other if is_set else ""
        return variables[name] if is_set else other or ""

    return VARIABLE.sub(value, text)


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """The part of a file with the values of `variables` in all its texts."""
    if isinstance(value, dict):
        return {key: filled(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, variables) for each in value]
    return interpolated(value, variables) if isinstance(value, str) else value


def load(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with the values of `variables`, anchors and merges resolved."""
    found: dict[str, Any] = filled(yaml.safe_load(FILE.read_text()), variables or {})
    return found


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service's process finds: variables without a value are taken from the shell."""
    return {name: value for name, value in service["environment"].items() if value is not None}
