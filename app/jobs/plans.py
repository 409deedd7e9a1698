"""Plans to and from JSON, as the database keeps them."""

import json

from pydantic import TypeAdapter

from app.generation.plan import Plan

_PLANS = TypeAdapter(Plan)


def write_plan(plan: Plan) -> str:
    """The plan as JSON."""
    return _PLANS.dump_json(plan).decode()


def read_plan(text: str) -> Plan:
    """The plan that `write_plan` wrote, also that of a server which had one model: its jobs did not
    name it. What engines call it now is found out whenever the job is run.

    Raises ValueError for any other text.
    """
    fields = json.loads(text)
    if isinstance(fields, dict) and isinstance(fields.get("submit"), dict):
        if "model" not in fields["submit"]:
            fields["submit"]["model"] = ""
            text = json.dumps(fields)
    return _PLANS.validate_json(text)
