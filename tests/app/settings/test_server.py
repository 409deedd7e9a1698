"""How the server is reached."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_nobodys_forwarded_addresses_are_believed_unless_they_are_named() -> None:
    assert Settings().proxies == []
    named = "10.0.0.0/8, 127.0.0.1,fd00::/8"
    assert Settings(trusted_proxies=named).proxies == ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]


@pytest.mark.parametrize("proxy", ["*", "proxy.example.org", "10.0.0.1/8", "10.0.0.0/99"])
def test_a_proxy_is_an_address_or_a_network(proxy: str) -> None:
    with pytest.raises(ValidationError, match="not an address or network such as 10.0.0.0/8"):
        Settings(trusted_proxies=proxy)


def test_a_certificate_makes_it_https() -> None:
    assert Settings().scheme == "http"
    assert Settings(tls_certificate="certificate.pem").scheme == "https"
