"""The file systems that fsspec makes for results: whoever does not answer is given up in time."""

from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.config import conf

BUCKETS = ("s3", "s3a")
"""Where a path begins with a bucket, which is there or not: this service makes none."""
TRIES = 2
"""Times that s3fs begins a call of S3, each of which boto tries ATTEMPTS times."""
ATTEMPTS = 2
S3: Mapping[str, Any] = {
    "max_concurrency": 1,  # a sample is read by one request
    "use_listings_cache": False,  # other servers write, too
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 10,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    },
}
"""What s3fs is told where fsspec's own configuration says nothing else. Without it a store that
does not answer would hold a call for half an hour."""


def file_system(url: str) -> tuple[Any, str]:
    """A new file system for a URL or path, which reads its credentials anew, and the path in it.

    Raises ImportError where fsspec lacks a package for it, ValueError for a URL of no kind.
    """
    protocol = url.partition("://")[0]
    if protocol not in BUCKETS:
        found: tuple[Any, str] = fsspec.url_to_fs(url)
        return found
    options = {**S3, **conf.get("s3", {})}
    files, root = fsspec.url_to_fs(url, skip_instance_cache=True, **options)
    files.retries = TRIES
    return files, root


def has_buckets(files: Any) -> bool:
    """Whether its paths begin with a bucket."""
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return not set(BUCKETS).isdisjoint(protocols)
