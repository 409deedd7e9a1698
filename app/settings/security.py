"""Who may use the server and under which names, and where it may send webhooks."""

import re

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliToggleFlag

from app.settings.values import split

MIN_KEY = 16
"""Characters of an API key, at least."""
KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""An API key as the header Authorization can carry it."""
PROTECTED = ("docs", "metrics", "model", "page")
"""What needs no API key unless it is protected."""
HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
"""A name as the header Host has it, without the port; `*.` stands for one or more names before."""


class SecuritySettings(BaseSettings):
    """Who may use the server, under which names, and where it may send webhooks."""

    api_keys: SecretStr = Field(
        SecretStr(""),
        description=f"API keys of {MIN_KEY} or more characters, separated by commas: "
        "requests for images and jobs need one; empty: none does, unless the next setting is given",
    )
    api_keys_file: str = Field(
        "",
        description="TOML file of named API keys and their limits, as `ddpm key` prints them; it "
        "is read again on SIGHUP",
    )
    insecure: CliToggleFlag[bool] = Field(
        False,
        description="listen on another address than loopback without API keys: whoever reaches "
        "it may use the server",
    )
    protect: str = Field(
        "",
        description=f"what needs an API key besides images and jobs, of {', '.join(PROTECTED)}, "
        "separated by commas; the metrics then need one with `admin = true`",
    )
    allowed_hosts: str = Field(
        "",
        description="names by which clients may ask for the server (the header Host), such as "
        "ddpm.example.org or *.example.org, separated by commas; *: every name; empty: every name "
        "with API keys; without, numbers, names without a dot, and the machine's own",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="key that signs webhooks; empty: jobs have no webhooks"
    )
    webhook_private: bool = Field(
        False, description="whether webhooks may go to private, loopback and link-local addresses"
    )

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        for key in split(value.get_secret_value()):
            check_key(key)
        return value

    @field_validator("protect")
    @classmethod
    def _check_protect(cls, value: str, info: ValidationInfo) -> str:
        for name in split(value):
            if name not in PROTECTED:
                raise ValueError(f"{name!r} is none of {', '.join(PROTECTED)}")
        keys = info.data.get("api_keys", SecretStr("")).get_secret_value()
        if value and not keys and not info.data.get("api_keys_file"):
            raise ValueError("it needs API keys")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_allowed_hosts(cls, value: str) -> str:
        for name in split(value):
            if not HOST.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not *, nor a name in small letters without a port, such as "
                    "ddpm.example.org, *.example.org or [::1]"
                )
        return value


def check_key(key: str) -> None:
    """Raise ValueError for an API key that can be guessed, or that no client can send."""
    if len(key) < MIN_KEY:
        raise ValueError(f"every key must have at least {MIN_KEY} characters")
    if not KEY.fullmatch(key):
        raise ValueError("every key must be of printable ASCII characters, without outer spaces")
