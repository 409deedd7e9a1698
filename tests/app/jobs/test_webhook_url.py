"""URLs of webhooks: what is refused when it is given, and which addresses are called."""

import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.jobs import webhook_url
from app.jobs.errors import BadAddress, BadWebhook

LABEL = "a" * 63


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert webhook_url.is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::8.8.8.8",
        "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::",
        "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_others_and_disguised_ones_are_not(address: str) -> None:
    assert not webhook_url.is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com", "http://HOST"),
        ("example.com", "http://HOST"),
        ("http://", "http://HOST"),
        ("http://user:secret@example.com", "user name or password"),
        ("http://user@example.com", "user name or password"),
        ("http://[::1]/", "private address"),
        ("http://169.254.169.254/latest", "private address"),
        ("http://[::ffff:127.0.0.1]/", "private address"),
        ("http://[64:ff9b::127.0.0.1]/", "private address"),
        ("http://localhost/", "private address"),
        ("http://localhost./", "private address"),
        ("http://LOCALHOST:80/", "private address"),
        ("http://my.localhost/", "private address"),
        ("http://example.com/" + "a" * 2000, "2000 are allowed"),
        ("http://2130706433/", "a name, or an IPv4 address of four decimal numbers"),
        ("http://0x7f.1/", "a name, or an IPv4 address of four decimal numbers"),
        ("http://0x7f000001/", "a name, or an IPv4 address of four decimal numbers"),
        ("http://127.1/", "a name, or an IPv4 address of four decimal numbers"),
        ("http://0177.0.0.1/", "Invalid IPv4 address"),
        ("http://127.0.0.1./", "a name, or an IPv4 address of four decimal numbers"),
        ("http://[fe80::1%25eth0]/", "no zone"),
        ("http://[fe80::1%eth0]/", "no zone"),
        (f"http://{LABEL}a.example/", "1..63 letters, digits and inner hyphens"),
        ("http://a..b/", "1..63 letters"),
        ("http://.a/", "1..63 letters"),
        ("http://a../", "1..63 letters"),
        ("http://.../", "1..63 letters"),
        ("http://-a.b/", "1..63 letters"),
        ("http://a_b.c/", "1..63 letters"),
        ("http://a b/", "1..63 letters"),
        ("http://a\\b/", "1..63 letters"),
        ("http://a%0d%0aX-Header:1/", "not allowed"),
        ("http://%31/", "1..63 letters"),
        (f"http://{LABEL}.{LABEL}.{LABEL}.{LABEL}/", "255 characters; 253 are allowed"),
        ("http://example.com:99999/", "its port is 99999; 1..65535 are allowed"),
        ("http://example.com:0/", "its port is 0; 1..65535 are allowed"),
        ("http://example.com:-1/", "not allowed"),
        ("http://xn--a/", "not allowed"),
        ("http://example.com/\r\nX-Header: 1", "non-printable"),
        ("http://ｌocalhost/", "not allowed"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(url: str, reason: str) -> None:
    with pytest.raises(BadWebhook, match="X-Webhook-URL: .* is not allowed: ") as refused:
        webhook_url.check_url(url, private=False)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://Hooks.Example.com.:8443/a?b=c#d", "hooks.example.com"),
        (f"http://{LABEL}.{LABEL}.{LABEL}.{'a' * 61}/", f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"),
        ("http://münchen.example/", "xn--mnchen-3ya.example"),
        ("http://8.8.8.8:65535/", "8.8.8.8"),
        ("http://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
    ],
)
def test_hosts_of_the_internet_are_allowed(url: str, host: str) -> None:
    webhook_url.check_url(url, private=False)
    assert webhook_url.host_of(url) == host


@pytest.mark.parametrize("url", ["http://localhost:9/", "http://10.0.0.1/", "http://[::1]:9/"])
def test_private_ones_are_where_the_server_allows_them(url: str) -> None:
    webhook_url.check_url(url, private=True)


@given(st.text() | st.text("a.:/[]@%0x1-\\\r\n?#é").map("http://".__add__))
@example("http://xn--a/")
@example("http://[")
def test_any_text_is_refused_or_can_be_called(text: str) -> None:
    try:
        webhook_url.check_url(text, private=True)
    except BadWebhook:
        return
    target = httpx.URL(text)
    assert 1 <= len(webhook_url.host_of(text)) <= webhook_url.MAX_HOST
    target.host.encode("idna")  # what a look-up does first
    with httpx.Client() as client:
        client.build_request("POST", target.copy_with(host="192.0.2.1"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["8.8.8.8", "10.0.0.1"], "is the private address 10.0.0.1"),
        (["fe80::1%eth0"], "is the private address fe80::1%eth0"),
    ],
)
async def test_a_name_with_one_private_address_is_not_called(
    addresses: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(None, None, None, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with ThreadPoolExecutor(1) as threads, pytest.raises(BadAddress, match=reason):
        await webhook_url.resolve(httpx.URL("http://a.example"), threads, private=False)
