"""What an answer's bytes are decided by, in a digest: equal ones are the same answer."""

import dataclasses
import hashlib
import json

from app.generation.plan import Plan
from app.wire.codec import encode
from diffusion import __version__


def identity(plan: Plan, made_by: str, form: str) -> str:
    """A digest of all that decides the bytes of a plan's answer in one form, but for the JSON
    fields `id` and `timing`, which tell of the run that made it.

    `form` is the media type, with what else tells formats apart. `made_by` names who makes the same
    bytes, as `app.pool.makers` says.
    """
    # Who asks, and what the job and the model are called for engines, changes no byte
    job = dataclasses.replace(plan.submit, id="", model="", client="", request_id="", made_by=None)
    # JSON answers repeat these as they were asked for; different ones may mean the same steps
    header = {**plan.header, "id": ""}
    told: list[object] = [header, plan.labels, plan.shown_times, form, made_by, __version__]
    if form == "application/zip":  # whose request.json has these as they were asked for
        told += [plan.names_model, plan.spacing, plan.guidance_interval, plan.start_t]
    return hashlib.sha256(b"\0".join([json.dumps(told).encode(), encode(job)])).hexdigest()
