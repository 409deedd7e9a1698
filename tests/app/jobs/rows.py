"""Rows of the job database, and how tests make them."""

from uuid import uuid4

from app.jobs.keys import Key
from app.jobs.leases import Kept
from app.jobs.quotas import Quota
from app.jobs.store import Store
from app.jobs.tables import Job

LEASE = 60.0
DAY = 24 * 3600.0
WEEK = 7 * DAY
PLENTY = Quota(jobs=100, size=10**9)


def job(total: int = 4, **fields: object) -> Job:
    return Job(
        **{
            "id": uuid4().hex,
            "client": "",
            "kind": "sample",
            "header": "{}",
            "plan": "the plan",
            "made_by": "us",
            "status": "waiting",
            "total": total,
            "stored_bytes": 100,
            "created_at": 0.0,
            "expires_at": WEEK,
            **fields,
        }
    )


async def create(
    store: Store,
    made: Job,
    key: Key | None = None,
    budget: int = 10_000,
    max_jobs: int = 10,
    own: Quota | None = None,
) -> Job:
    server = Quota(max_jobs, budget)
    return await store.create(made, key, seed=1, server=server, client=own or PLENTY)


async def claimed(store: Store, owner: str = "me", lease: float = LEASE) -> Job:
    found = await store.leases.claim(owner, ["us"], lease)
    assert found is not None
    return found


def kept(*numbers: int) -> list[Kept]:
    return [Kept(number, 10 + number, number, 2 * number) for number in numbers]
