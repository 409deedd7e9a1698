"""The tables of the job database. A change here needs a revision in `migrations/`."""

from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import GenericFunction

Kind = Literal["sample", "denoise-trajectory"]
Status = Literal["waiting", "running", "finished", "failed", "expired", "deleted"]
UNFINISHED: tuple[Status, ...] = ("waiting", "running")


class Base(DeclarativeBase):
    """The registry that the tables share."""


class Job(Base):
    """A request that is run while no client waits for it. Times are Unix seconds on the database's
    clock, which is the same for every process that shares it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("done >= 0 AND done <= total", name="jobs_done"),
        # Questions are answered from an index alone where they look at many rows: to read a column
        # that is behind a long plan, SQLite reads the plan.
        Index("jobs_turns", "status", "made_by", "client", "turn_at", "lease_until"),
        Index("jobs_quotas", "client", "status", "stored_bytes"),
        Index("jobs_expiry", "expires_at", "status"),
        Index("jobs_files", "status", "purged", "lease_until"),
        Index("jobs_webhooks", "webhook_due", "webhook_host", "client"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    client: Mapped[str] = mapped_column(String(255))
    kind: Mapped[Kind] = mapped_column(String(32))
    header: Mapped[str] = mapped_column(Text)  # JSON: id, model, seed, sampler, steps
    plan: Mapped[str] = mapped_column(Text, deferred=True)  # JSON; as long as its labels
    made_by: Mapped[str] = mapped_column(String(255))  # what can run it: see `makers.maker`
    status: Mapped[Status] = mapped_column(String(16))
    detail: Mapped[str | None] = mapped_column(Text)  # why it failed, or does not advance
    total: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, default=0)
    next_number: Mapped[int] = mapped_column(Integer, default=0)  # those before it are all kept
    stored_bytes: Mapped[int] = mapped_column(BigInteger)  # reserved; when finished: taken

    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    resumed_at: Mapped[float | None] = mapped_column(Double)  # by its present owner, if it runs
    resumed_done: Mapped[int] = mapped_column(Integer, default=0)
    run_seconds: Mapped[float] = mapped_column(Double, default=0.0)

    turn_at: Mapped[float] = mapped_column(Double)  # the job that had its turn longest ago is next
    owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float | None] = mapped_column(Double)
    fence: Mapped[int] = mapped_column(Integer, default=0)  # grows whenever the owner may change
    purged: Mapped[bool] = mapped_column(Boolean, default=False)  # its files are gone

    webhook_url: Mapped[str | None] = mapped_column(Text)
    webhook_due: Mapped[float | None] = mapped_column(Double)
    webhook_attempts: Mapped[int] = mapped_column(Integer, default=0)
    webhook_host: Mapped[str | None] = mapped_column(String(255))


class Sample(Base):
    """A sample whose file is whole in the result store; `number` counts from 0 in its job."""

    __tablename__ = "job_samples"

    job_id: Mapped[str] = mapped_column(
        String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)  # bytes of the file
    # CRC-32 of what archives carry of it. sample: the PNG, the pixels; trajectory: x_t, x0_hat.
    first_crc: Mapped[int] = mapped_column(BigInteger)
    second_crc: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKey(Base):
    """A client's Idempotency-Key, and what its first request got: a seed, and a job if it asked for
    one."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("idempotency_keys_quotas", "job_id", "client", "expires_at"),
        Index("idempotency_keys_expiry", "expires_at"),
    )

    client: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    made_by: Mapped[str] = mapped_column(String(255))
    seed: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[str | None] = mapped_column(
        String(32), ForeignKey("jobs.id", ondelete="CASCADE")
    )
    expires_at: Mapped[float] = mapped_column(Double)


class now(GenericFunction[float]):
    """SQL expression for the time on the database's clock, in Unix seconds."""

    name = "unix_now"
    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _(element: now, compiler: Any, **options: Any) -> str:  # noqa: ARG001 - SQLAlchemy's signature
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _(element: now, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "extract(epoch from clock_timestamp())::double precision"
