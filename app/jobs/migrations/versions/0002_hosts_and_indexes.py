"""Hosts of webhooks, and an index for every question that is asked again and again."""

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JOBS = {
    "jobs_turns": ("status", "made_by", "client", "turn_at", "lease_until"),
    "jobs_quotas": ("client", "status", "stored_bytes"),
    "jobs_expiry": ("expires_at", "status"),
    "jobs_files": ("status", "purged", "lease_until"),
    "jobs_webhooks": ("webhook_due", "webhook_host", "client"),
}
KEYS = {
    "idempotency_keys_quotas": ("job_id", "client", "expires_at"),
    "idempotency_keys_expiry": ("expires_at",),
}


def upgrade() -> None:
    """Add what is missing; jobs from before get the hosts of their webhooks."""
    op.add_column("jobs", sa.Column("webhook_host", sa.String(255)))
    jobs = sa.table("jobs", *map(sa.column, ("id", "webhook_url", "webhook_host")))
    connection = op.get_bind()
    query = sa.select(jobs.c.id, jobs.c.webhook_url).where(jobs.c.webhook_url.is_not(None))
    for job_id, url in connection.execute(query).all():
        change = sa.update(jobs).where(jobs.c.id == job_id).values(webhook_host=_host(url))
        connection.execute(change)
    op.drop_index("jobs_turns", "jobs")
    op.drop_index("ix_idempotency_keys_job_id", "idempotency_keys")
    for table, indexes in (("jobs", JOBS), ("idempotency_keys", KEYS)):
        for name, columns in indexes.items():
            op.create_index(name, table, list(columns))


def downgrade() -> None:
    """Take it away again."""
    for table, indexes in (("jobs", JOBS), ("idempotency_keys", KEYS)):
        for name in indexes:
            op.drop_index(name, table)
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])
    op.create_index("jobs_turns", "jobs", ["status", "made_by", "turn_at"])
    op.drop_column("jobs", "webhook_host")


def _host(url: str) -> str:
    """The host of a URL of any form; those that have none count as one."""
    try:
        return (urlsplit(url).hostname or "")[:255]
    except ValueError:
        return ""
