"""Plans to and from JSON, as the database keeps them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

from app.generation.plan import Plan


def _with_model(plan: Any) -> Any:
    """A plan of a server that had one model, which its jobs did not name. What they are called now
    is found out whenever they are run."""
    if isinstance(plan, dict) and isinstance(plan.get("submit"), dict):
        return {**plan, "submit": {"model": "", **plan["submit"]}}
    return plan


PLANS: TypeAdapter[Plan] = TypeAdapter(Annotated[Plan, BeforeValidator(_with_model)])
"""Reads plans also from rows that an older server has written."""
