"""`python -m app.health`: status 0 when this machine's server is ready; a container's check."""

import sys

import httpx

from app.settings import Settings

TIMEOUT_SECONDS = 4


def main() -> int:
    """Ask /readyz on the port that the server's own settings name; 0 when it is ready, else 1."""
    settings = Settings()  # from the environment, as in a container; flags are not seen
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    try:
        response = httpx.get(f"http://{host}:{settings.port}/readyz", timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(response.text + "\n")
    return 0 if response.status_code == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
