"""Where the server listens and how it is reached, what it logs, and how it stops."""

import ipaddress
import re
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from app.settings.values import Positive, split

ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
ORIGIN = re.compile(
    r"(?!https://[^:]+:443$|http://[^:]+:80$)"
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?"
)
"""What a browser sends as Origin."""


class ServerSettings(BaseSettings):
    """Where the server listens, what it logs, and how it stops."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: every address")
    port: int = Field(
        8000, ge=0, le=65535, description="port to listen on, 0..65535; 0: any free port"
    )
    root_path: str = Field(
        "",
        description="path under which a reverse proxy offers the server, such as /ddpm; empty: at "
        "the top",
    )
    trusted_proxies: str = Field(
        "",
        description="addresses and networks of the reverse proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed, such as 10.0.0.0/8, separated by commas; empty: nobody's",
    )
    tls_certificate: str = Field(
        "",
        description="file (PEM) of the certificate and those that vouch for it, with which the "
        "server speaks HTTPS; empty: HTTP",
    )
    tls_key: str = Field(
        "", description="file (PEM) of the certificate's key; empty: it is in the certificate's"
    )
    cors_origins: str = Field(
        "",
        description="origins whose pages may use the server from a browser, such as "
        "https://lab.example.org, separated by commas; *: every origin; empty: none but its own",
    )
    keep_alive_seconds: Positive = Field(
        75,
        description="seconds that an idle connection is kept open; more than those of a proxy or "
        "balancer in front",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="log lines on stderr: text for people, json for programs"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="least level of the log lines; debug also shows health checks and the lines "
        "of libraries",
    )
    shutdown_seconds: Positive = Field(
        30, description="seconds that running requests have to finish after SIGTERM"
    )

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        path = value.rstrip("/")
        if path and (not ROOT_PATH.fullmatch(path) or {".", ".."} & set(path.split("/"))):
            raise ValueError("it must be a path such as /ddpm, of letters, digits and ._~-")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, value: str) -> str:
        for origin in split(value):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not *, nor an origin as browsers write it: https://HOST or "
                    "http://HOST:PORT, in small letters, without a path or a scheme's own port"
                )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, value: str) -> str:
        for proxy in split(value):
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"not an address or network such as 10.0.0.0/8: {error}") from None
        return value
