"""The variables DDPM_… that are settings, and those that Kubernetes makes for a Service.

For a Service named `ddpm` every pod in its namespace gets DDPM_PORT=tcp://10.0.0.1:8000,
DDPM_SERVICE_HOST and others, unless its specification says `enableServiceLinks: false`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

PREFIX = "DDPM_"
ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+", re.IGNORECASE)
SERVICE_NAME = re.compile(
    r"DDPM_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)


class OwnVariables(EnvSettingsSource):
    """Reads the settings from DDPM_… variables, without what Kubernetes made of them."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The variable's value, None where it is Kubernetes'; the field; whether it is JSON."""
        value, key, is_complex = super().get_field_value(field, field_name)
        is_ours = value is None or not is_services(PREFIX + field_name, value)
        return value if is_ours else None, key, is_complex


def is_services(name: str, value: str) -> bool:
    """Has Kubernetes made this variable for a Service whose name begins with ddpm?"""
    upper = name.upper()
    is_address = upper.startswith(PREFIX) and upper.endswith("PORT") and ADDRESS.fullmatch(value)
    return bool(is_address or SERVICE_NAME.fullmatch(upper))


def service_variables(variables: Mapping[str, str]) -> list[str]:
    """The names of those `variables` that Kubernetes made for a Service."""
    return sorted(name for name, value in variables.items() if is_services(name, value))


def unknown_variables(variables: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    """The names of those `variables` that have our prefix and are none of the `settings`, nor made
    by Kubernetes: probably misspelt."""
    known = {f"{PREFIX}{name}".upper() for name in settings}
    return sorted(
        name
        for name, value in variables.items()
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and not is_services(name, value)
    )
