"""`python -m app.health`: status 0 when this machine's server is ready; a container's check."""

import sys

import httpx

from app.address import local_url
from app.settings import Settings

TIMEOUT_SECONDS = 4


def main() -> int:
    """Ask /readyz on the port that the server's own settings name; 0 when it is ready, else 1."""
    settings = Settings()  # from the environment, as in a container; flags are not seen
    url = local_url(settings.host, settings.port, settings.scheme) + "readyz"
    try:
        # Not through a proxy: the server is on this machine. So its certificate, which may be for
        # another name, need not be checked.
        response = httpx.get(  # nosec B501
            url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=False
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(response.text + "\n")
    return 0 if response.status_code == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
