"""API keys: how they are made, and the file that names them. Only their SHA-256 is kept.

A fast hash is enough for keys of high entropy: nobody can try them all.
"""

import hashlib
import re
import secrets
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from app.settings import MIN_KEY
from app.settings.security import check_key
from app.settings.values import Positive
from app.small_file import check_small_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
SHA256 = re.compile(r"[0-9a-f]{64}")
KEY_BYTES = 32
"""Random bytes of a new key."""


class ApiKey(BaseModel):
    """A key by its SHA-256 in hex, its name, and the limits it has of its own.

    A limit that is None is the server's for one client: requests in a minute (`rate`), unfinished
    samples and steps, unfinished jobs, and bytes of jobs' results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    key_sha256: str
    admin: bool = False
    rate: Positive | None = None
    samples: Positive | None = None
    steps: Positive | None = None
    jobs: Positive | None = None
    bytes: Positive | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("it must be 1..40 letters, digits and ._-, a letter or digit first")
        return value

    @field_validator("key_sha256")
    @classmethod
    def _check_hash(cls, value: str) -> str:
        if not SHA256.fullmatch(value):
            raise ValueError("it must be the SHA-256 of a key, as 64 hex digits in small letters")
        return value

    @model_validator(mode="before")
    @classmethod
    def _hash_key(cls, table: Any) -> Any:
        """A table with the key itself instead of its hash."""
        if not isinstance(table, dict) or "key" not in table:
            return table
        rest = {name: value for name, value in table.items() if name != "key"}
        if "key_sha256" in rest:
            raise ValueError("it has key and key_sha256; one of them is enough")
        if not isinstance(table["key"], str):
            raise ValueError(f"key must be text of at least {MIN_KEY} characters")
        check_key(table["key"])
        return {**rest, "key_sha256": digest(table["key"])}


class BadKeysFile(ValueError):
    """A file of keys that cannot be read, or says what is not allowed. No message has a key."""


def digest(key: str) -> str:
    """The SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def plain_key(key: str) -> ApiKey:
    """A key without a name: it is called by the beginning of its hash."""
    return ApiKey(name=digest(key)[:12], key_sha256=digest(key))


def read_file(path: str) -> list[ApiKey]:
    """The keys in a TOML file of tables `[[keys]]`. Raises BadKeysFile, also when it has none."""
    try:
        check_small_file(path)
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadKeysFile(str(error.strerror)) from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise BadKeysFile(f"not TOML: {error}") from None
    except RecursionError:
        raise BadKeysFile("nested too deeply") from None
    tables = document.get("keys")
    if not isinstance(tables, list) or not tables or document.keys() != {"keys"}:
        raise BadKeysFile("it must have one table [[keys]] or more, and nothing else")
    keys = [_read_table(number, table) for number, table in enumerate(tables, 1)]
    limits: dict[str, ApiKey] = {}
    for key in keys:
        own = key.model_copy(update={"key_sha256": ""})
        if limits.setdefault(key.name, own) != own:
            raise BadKeysFile(f"the keys of {key.name} differ in their limits or in admin")
    if len({key.key_sha256 for key in keys}) < len(keys):
        raise BadKeysFile("a key is in it twice")
    return keys


def make_table(name: str, *, admin: bool = False) -> tuple[str, str]:
    """A new random key, and the table of it for the file. Raises BadKeysFile for a bad name."""
    key = f"ddpm_{secrets.token_urlsafe(KEY_BYTES)}"
    found = _read_table(1, {"name": name, "key": key, "admin": admin})
    lines = ["[[keys]]", f'name = "{found.name}"', f'key_sha256 = "{found.key_sha256}"']
    return key, "\n".join([*lines, "admin = true"] if admin else lines)


def _read_table(number: int, table: object) -> ApiKey:
    try:
        return ApiKey.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, ("keys", number, *found["loc"])))
        reason = found["msg"].removeprefix("Value error, ")
        raise BadKeysFile(f"{place}: {reason}") from None
