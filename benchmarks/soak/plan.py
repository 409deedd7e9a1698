"""What the soak does, how much of it, and for how long."""

from dataclasses import dataclass

CALM = 0.4
"""The part of the time, at its end, without troubles: lives long enough to show a leak."""
WEBHOOKS = (
    "none", "none", "kind", "kind", "moody", "drips", "hangs", "fails", "closes", "redirects"
)  # fmt: skip
"""How the webhooks of jobs are met, drawn for each: see webhooks.py."""
MIN_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS = 240.0, 900.0


@dataclass(frozen=True)
class Plan:
    """What is done, drawn from `seed`. Times are seconds; `every` is a mean."""

    seconds: float
    clients: int = 8  # that wait for their answers
    job_clients: int = 4
    readers: int = 4  # at once, of one big result, slowly
    requests: int = 50  # different ones
    jobs: int = 10  # different ones
    big_samples: int = 64  # in the job that is read slowly
    disconnects: float = 0.15  # of the requests, the part whose client disconnects
    leave_within: float = 1.0
    kill_engine_every: float = 60.0
    kill_api_every: float = 180.0
    restart_database_every: float = 240.0
    full_disk_seconds: float = 60.0
    read_seconds: float = 20.0  # that a slow reader takes for its answer, on average
    max_pause: float = 60.0  # before a request that was refused is sent again
    webhooks: tuple[str, ...] = WEBHOOKS
    seed: int = 0

    @property
    def troubled(self) -> float:
        """For how long, from the start, there are troubles."""
        return (1 - CALM) * self.seconds

    @property
    def expiry(self) -> int:
        """How long the server keeps what nobody deletes: the seeds of Idempotency-Keys."""
        return round(min(max(self.seconds / 4, MIN_EXPIRY_SECONDS), MAX_EXPIRY_SECONDS))

    @property
    def with_keys(self) -> float:
        """For how long, from the start, clients send Idempotency-Keys: these have then expired by
        the end."""
        return self.seconds - self.expiry
