"""What the server says about itself: /livez, /readyz and /metrics."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.generation.schemas.status import Readiness
from app.http.problems import Problem, problem_response
from app.jobs.background import OPENING
from app.routes import openapi
from app.routes.dependencies import ServicesDep
from app.routes.errors import RESTART_SECONDS

PROBES = ("/livez", "/readyz", "/metrics")
"""Paths that machines ask again and again: their log lines are of level DEBUG."""
router = APIRouter(tags=["system"])


@router.get("/livez", summary="Is the process alive?", responses=openapi.OK)
async def get_liveness() -> dict[str, str]:
    """200 as long as the server runs, even if its queue is full."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can the server answer requests?",
    response_model=Readiness,
    responses={**openapi.OK, **openapi.NOT_READY},
)
async def get_readiness(services: ServicesDep) -> Response:
    """200 if each model has been loaded once (but those unloaded before), at least one engine is
    ready or starts when it is needed, and it is known whether jobs can be stored; else 503 with the
    state of each engine."""
    pool, models = services.pool, services.models
    missing = [entry.name for entry in models if models.is_awaited(entry)]
    loading: list[str] = []
    states = [f"engine {engine.name} is {engine.state}" for engine in pool.engines]
    # First: a server that shuts down gets no new requests, although its engines are ready.
    if pool.is_draining:
        states = ["the server is shutting down"]
    elif services.jobs.is_opening:
        states.append(OPENING)
    elif not models.has_been_ready.is_set():
        loading = missing
        states += [f"model {name} has not been loaded yet" for name in missing]
    elif pool.ready_engines or models.may_rest:
        return JSONResponse({"status": "ready", "reasons": []})
    problem = Problem(503, "; ".join(states))
    headers = {"Retry-After": str(RESTART_SECONDS)}
    content = {**problem.body(), "reasons": states, "loading": loading}
    return problem_response(content, headers)


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=PlainTextResponse,
    responses={**openapi.OK, **openapi.DOOR},
)
async def get_metrics(services: ServicesDep) -> Response:
    """Metrics for Prometheus: the queue, requests, samples, and the engines' steps."""
    return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)
