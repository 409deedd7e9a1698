"""What endpoints are tested on."""

import pytest

from tests.app.server import Server


@pytest.fixture(scope="session")
def server(real_server: Server) -> Server:
    """The shipped checkpoint on a real engine: images are looked at."""
    return real_server
