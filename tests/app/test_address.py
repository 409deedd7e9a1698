"""Where a server listens: found out before anything is loaded."""

import errno
import os
import socket

import pytest

from app.address import check_exposure, listen, local_url
from app.settings import SettingError, Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("", "http://127.0.0.1:8000/"),
        ("::", "http://[::1]:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("example.org", "http://example.org:8000/"),
    ],
)
def test_the_address_is_one_that_a_program_here_can_open(host: str, url: str) -> None:
    assert local_url(host, 8000) == url
    assert local_url(host, 8000, "https") == url.replace("http:", "https:")


def close(sockets: list[socket.socket]) -> list[str]:
    """Close the sockets; the addresses they had."""
    hosts = [listening.getsockname()[0] for listening in sockets]
    for listening in sockets:
        listening.close()
    return hosts


def test_it_listens_where_it_is_told_to() -> None:
    (listening,) = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        assert close([listening]) == ["127.0.0.1"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_both_kinds_of_everywhere_have_the_same_port_side_by_side() -> None:
    (older,) = listen("0.0.0.0", 0)
    try:
        newer = listen("::", older.getsockname()[1])
    except SettingError as error:
        older.close()
        pytest.skip(f"no IPv6 here: {error}")
    assert close([older, *newer]) == ["0.0.0.0", "::"]


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingError, match="another program listens there, on 127") as error:
            listen("127.0.0.1", port)
    assert (error.value.name, error.value.value) == ("port", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(SettingError, match="this machine has no such address") as error:
        listen("192.0.2.1", 0)  # of the documentation's own network
    assert (error.value.name, error.value.value) == ("host", "192.0.2.1")


def test_a_name_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingError, match="no address is known for it: Name or service") as error:
        listen("nowhere.invalid", 0)
    assert error.value.name == "host"


class Refusing:
    """Stands for the system's sockets: it binds no address that is in `failing`."""

    def __init__(self, failing: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
        bind = socket.socket.bind
        hosts = [("127.0.0.1", socket.AF_INET), ("127.0.0.2", socket.AF_INET)]
        found = [(family, socket.SOCK_STREAM, 6, "", (host, 0)) for host, family in hosts]

        class Socket(socket.socket):
            def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
                if address[0] in failing:
                    raise OSError(failing[address[0]], os.strerror(failing[address[0]]))
                bind(self, address)

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(socket, "socket", Socket)


def test_an_address_that_is_switched_off_does_not_matter_beside_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Refusing({"127.0.0.2": errno.EADDRNOTAVAIL}, monkeypatch)
    assert close(listen("localhost", 0)) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("number", "name", "reason"),
    [
        (errno.EACCES, "port", "this user may not listen on it; take one over 1023"),
        (errno.EADDRINUSE, "port", "another program listens there, on localhost"),
        (errno.ENOBUFS, "host", os.strerror(errno.ENOBUFS)),
    ],
)
def test_one_address_that_is_refused_is_enough(
    number: int, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusing({"127.0.0.2": number}, monkeypatch)
    with pytest.raises(SettingError, match=reason) as error:
        listen("localhost", 80)
    assert error.value.name == name


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_without_keys_an_address_that_other_machines_reach_has_to_be_meant(host: str) -> None:
    try:
        sockets = listen(host, 0)
    except SettingError as missing:
        pytest.skip(f"no such address here: {missing}")
    with pytest.raises(SettingError, match=r"DDPM_API_KEYS_FILE .* --insecure") as error:
        check_exposure(sockets, Settings(host=host))
    assert error.value.name == "host"
    assert all(listening.fileno() == -1 for listening in sockets), "they are closed"


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("127.0.0.1", Settings()),
        ("127.1.2.3", Settings()),
        ("localhost", Settings()),
        ("0.0.0.0", Settings(insecure=True)),
        ("0.0.0.0", Settings(api_keys="a" * 16)),
        ("0.0.0.0", Settings(api_keys_file="keys.toml")),
    ],
    ids=["127.0.0.1", "127.1.2.3", "localhost", "insecure", "keys", "file of keys"],
)
def test_otherwise_it_listens(host: str, settings: Settings) -> None:
    sockets = listen(host, 0)
    check_exposure(sockets, settings)
    assert close(sockets)
