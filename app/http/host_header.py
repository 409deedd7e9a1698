"""The name in a request's Host header (RFC 9110, section 7.2)."""

import ipaddress


def name_of(host: str) -> str:
    """The name in a Host header, in small letters, without the port and the root's dot. An IPv6
    address stays in its brackets."""
    host = host.strip().lower()
    name, separator, port = host.rpartition(":")
    if not separator or not port.isdecimal() or host.endswith("]"):
        name = host
    return name.removesuffix(".")


def is_local_or_number(name: str) -> bool:
    """Whether a name means the machine of who asks, `localhost` or below it, or is an IP address:
    no other site can have such a name."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
