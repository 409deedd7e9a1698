"""Clients: the holders of API keys, or network addresses where the server has no keys."""

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from app.door.api_keys import ApiKey, BadKeysFile, digest, plain_key, read_file
from app.settings import SettingError, Settings

log = logging.getLogger("ddpm.server")

IPV6_PREFIX = 64
"""Bits of an IPv6 address that one client has: it chooses the others itself."""
LIMITS = {
    "rate": "max_client_rate",
    "samples": "max_client_samples",
    "steps": "max_client_steps",
    "jobs": "max_client_jobs",
    "bytes": "jobs_client_bytes",
}
"""A key's own limits, and the settings that they replace for its holder."""


@dataclass(frozen=True)
class Client:
    """Whose work and limits are counted together, under a name that reveals no key.

    `limits` are the server's settings, with the key's own limits in the place of those of one
    client. `key_name` is the key's name; None: a client without a key.
    """

    name: str
    limits: Settings
    key_name: str | None = None
    is_admin: bool = False


class Clients:
    """Finds out who a client is. The file of keys may be read again while the server runs."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingError for a file of keys that cannot be used."""
        self._settings = settings
        self.need_key = settings.needs_key
        try:
            self._holders = self._read()
        except BadKeysFile as error:
            raise SettingError("api_keys_file", settings.api_keys_file, str(error)) from None

    def reload(self) -> None:
        """Read the file of keys again; where it cannot be used, say so and keep the old keys."""
        path = self._settings.api_keys_file
        try:
            self._holders = self._read()
        except BadKeysFile as error:
            log.error("%s: %s; the API keys stay as they were", path, error)
            return
        names = sorted({client.name for _, client in self._holders})
        log.info("the API keys are read again: %d, of %s", len(self._holders), ", ".join(names))

    def by_key(self, given: str) -> Client | None:
        """The holder of a key; None if it is none of the server's."""
        hashed = digest(given)
        # All are compared, each in the same time, so that timing tells nothing about a key.
        found = [client for known, client in self._holders if hmac.compare_digest(hashed, known)]
        return found[0] if found else None

    def by_address(self, address: str | None) -> Client:
        """The client at an address, where the server has no keys."""
        return Client(f"address {network_of(address)}", self._settings)

    def limits_of(self, name: str) -> Settings:
        """The limits of the client with this name, as they are now; of one that has no key, or no
        longer, the server's."""
        found = (client.limits for _, client in self._holders if client.name == name)
        return next(found, self._settings)

    def _read(self) -> list[tuple[str, Client]]:
        path = self._settings.api_keys_file
        plain = [plain_key(key) for key in self._settings.keys]
        return self._holders_of(plain + (read_file(path) if path else []))

    def _holders_of(self, keys: Sequence[ApiKey]) -> list[tuple[str, Client]]:
        return [(key.key_sha256, self._client(key)) for key in keys]

    def _client(self, key: ApiKey) -> Client:
        own = {setting: getattr(key, limit) for limit, setting in LIMITS.items()}
        update = {setting: value for setting, value in own.items() if value is not None}
        limits = self._settings.model_copy(update=update)
        return Client(f"key {key.name}", limits, key.name, key.admin)


def network_of(address: str | None) -> str:
    """What stands for a client's address: an IPv4 address itself, also one that is written as IPv6,
    and of an IPv6 address its /64."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
        found = found.ipv4_mapped
    return str(found)
