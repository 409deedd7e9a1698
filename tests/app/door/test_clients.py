"""Who a client is: the holder of a key, or an address."""

import hmac
import logging
from pathlib import Path

import pytest

from app.door.clients import Clients, network_of
from app.settings import SettingError, Settings

KEYS = ["the first key of this server", "another key of this server"]
FILE = '[[keys]]\nname = "alice"\nkey = "alice\'s long secret key"\nsamples = 5\nadmin = true\n'


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(FILE)
    return path


def plain() -> Clients:
    return Clients(Settings(api_keys=",".join(KEYS)))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::1", "::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ('"><script>', "unknown"),
    ],
)
def test_without_keys_a_client_is_its_address_or_the_network_that_it_has(
    address: str | None, network: str
) -> None:
    assert network_of(address) == network
    client = Clients(Settings()).by_address(address)
    assert (client.name, client.key_name, client.is_admin) == (f"address {network}", None, False)


def test_a_key_without_a_name_is_found_under_the_name_it_always_had() -> None:
    client = plain().by_key(KEYS[0])
    assert client is not None
    assert client.name == "key 126a833632ad" and client.key_name == "126a833632ad"
    assert not any(word in client.name for word in KEYS[0].split() if len(word) > 3)


@pytest.mark.parametrize("given", ["", "wrong", KEYS[0] + " ", KEYS[0][:-1], "é", ",".join(KEYS)])
def test_another_key_is_nobodys(given: str) -> None:
    assert plain().by_key(given) is None


def test_every_key_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clients, compared = plain(), 0

    def count(one: str, other: str) -> bool:
        nonlocal compared
        compared += 1
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", count)
    for given in (*KEYS, "neither"):
        compared = 0
        clients.by_key(given)
        assert compared == len(KEYS)


def test_a_key_of_the_file_has_its_name_and_its_own_limits(keys_file: Path) -> None:
    settings = Settings(api_keys_file=str(keys_file), max_client_steps=70)
    client = Clients(settings).by_key("alice's long secret key")
    assert client is not None and client.is_admin
    assert (client.name, client.key_name) == ("key alice", "alice")
    assert (client.limits.max_client_samples, client.limits.max_client_steps) == (5, 70)
    assert settings.max_client_samples != 5, "the others' limits are as they were"


def test_the_limits_of_a_client_are_found_by_its_name(keys_file: Path) -> None:
    settings = Settings(api_keys_file=str(keys_file))
    clients = Clients(settings)
    assert clients.limits_of("key alice").max_client_samples == 5
    keys_file.write_text(FILE.replace("samples = 5", "samples = 9"))
    clients.reload()
    assert clients.limits_of("key alice").max_client_samples == 9
    for name in ("key nobody's", "address 10.0.0.1"):
        assert clients.limits_of(name) == settings


def test_a_key_can_be_replaced_while_the_server_runs(keys_file: Path) -> None:
    clients = Clients(Settings(api_keys_file=str(keys_file)))
    before = clients.by_key("alice's long secret key")
    keys_file.write_text(FILE + FILE.replace("alice's long", "alice's next"))
    clients.reload()
    assert clients.by_key("alice's next secret key") == before
    keys_file.write_text(FILE.replace("alice's long", "alice's next"))
    clients.reload()
    assert clients.by_key("alice's next secret key") == before
    assert clients.by_key("alice's long secret key") is None


@pytest.mark.parametrize("text", ["", "[[keys", FILE + FILE, None], ids=str)
def test_a_damaged_file_leaves_the_keys_as_they_were_and_says_why(
    keys_file: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clients = Clients(Settings(api_keys_file=str(keys_file)))
    keys_file.unlink()
    if text is not None:
        keys_file.write_text(text)
    with caplog.at_level(logging.INFO):
        clients.reload()
    assert clients.by_key("alice's long secret key") is not None
    assert clients.need_key, "an emptied file opens nothing"
    (line,) = caplog.messages
    assert line.startswith(str(keys_file)) and "the API keys stay as they were" in line


def test_a_damaged_file_at_the_start_is_a_wrong_setting(keys_file: Path) -> None:
    keys_file.write_text("")
    with pytest.raises(SettingError, match="one table") as error:
        Clients(Settings(api_keys_file=str(keys_file)))
    assert (error.value.name, error.value.value) == ("api_keys_file", str(keys_file))


def test_what_is_kept_shows_no_key(keys_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(api_keys=KEYS[0], api_keys_file=str(keys_file))
    clients = Clients(settings)
    with caplog.at_level(logging.INFO):
        clients.reload()
    shown = f"{settings!r} {settings.model_dump()} {vars(clients)!r} {caplog.text}"
    assert "alice" in caplog.text
    assert KEYS[0] not in shown and "secret key" not in shown
