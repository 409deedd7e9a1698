"""Where a server listens, and where a program on its machine finds it."""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

from app.settings import SettingError, Settings

BACKLOG = 2048
"""Connections that wait to be accepted, as uvicorn has it."""
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""How the system says that it has no such address."""


def local_url(host: str, port: int, scheme: str = "http") -> str:
    """The address, for a program on the same machine, of a server that listens on `host`."""
    everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
    host = everywhere.get(host, host)
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


def listen(host: str, port: int) -> list[socket.socket]:
    """Open a listening socket on each address of `host`; the empty name has all addresses.

    Raises SettingError where there is no such address, or it may not be used.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise SettingError("host", host, f"no address is known for it: {error.strerror}") from None
    sockets, failures = [], []
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_listen(family, address))
        except OSError as error:
            failures.append(error)
    # A name may have addresses that this machine has switched off, such as ::1 for localhost.
    serious = [error for error in failures if error.errno not in ABSENT]
    if serious or not sockets:
        for listening in sockets:
            listening.close()
        raise _refused(host, port, (serious or failures)[0])
    return sockets


def check_exposure(sockets: Sequence[socket.socket], settings: Settings) -> None:
    """Close the sockets and raise SettingError where other machines can reach a server without API
    keys, unless that is meant."""
    hosts = [listening.getsockname()[0] for listening in sockets]
    is_private = all(ipaddress.ip_address(host).is_loopback for host in hosts)
    if is_private or settings.needs_key or settings.insecure:
        return
    for listening in sockets:
        listening.close()
    reason = (
        "other machines can reach this address, and the server has no API keys: set "
        "DDPM_API_KEYS_FILE (`ddpm key NAME` prints what to put there) or DDPM_API_KEYS; or say "
        "--insecure (DDPM_INSECURE=true) where whoever reaches it may use it"
    )
    raise SettingError("host", settings.host, reason)


def _listen(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # else it would take the IPv4 address too
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _refused(host: str, port: int, error: OSError) -> SettingError:
    """The setting that is at fault when no socket can be opened."""
    match error.errno:
        case errno.EADDRINUSE:
            reason = f"another program listens there, on {host}; stop it, or choose another --port"
            return SettingError("port", port, reason)
        case errno.EACCES | errno.EPERM:
            return SettingError("port", port, "this user may not listen on it; take one over 1023")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return SettingError("host", host, "this machine has no such address")
        case _:
            return SettingError("host", host, error.strerror or str(error))
