"""The application as Ray Serve deploys it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from app.cluster.checks import check_arguments, check_devices
from app.cluster.ingress import Server
from app.cluster.replica import EngineReplica
from app.settings import Settings

NAME = "ddpm"
"""What Ray calls the application."""
MANY = 1_000_000
"""Calls at once: the limits are ours, and Ray is to refuse nothing."""
HEALTH = {"health_check_period_s": 2.0, "health_check_timeout_s": 20.0}
MORE_SECONDS = 10.0
"""Time that a replica has for ending, besides that which requests have."""
HEARD_SECONDS = 30.0
"""Time in which Ray's controller hears for sure what a replica reports."""
REMEMBERED_SECONDS = 15.0
"""Time that Ray goes by what it heard, which it hears every 10 seconds. Both together are less than
HEARD_SECONDS: where no engine is left, Ray starts one for any call that it remembers to have
waited, and the last engine was started for such a call."""
QUIET = {"log_level": "WARNING", "enable_access_log": False}
"""What Ray Serve logs of itself: no line for each call."""


def application(settings: Mapping[str, str]) -> Application:
    """The deployments `server` and `engines`, by settings as `ddpm serve` has them; they go before
    the environment's:

        serve run app.cluster:application checkpoint=mnist cluster_engines=2

    Raises pydantic.ValidationError for a value that is not allowed, SettingError for what is no
    setting or is to be set elsewhere, as secrets: others could read them in Ray's dashboard.
    """
    return with_engines(settings)


def with_engines(settings: Mapping[str, str], command: Sequence[str] | None = None) -> Application:
    """The application whose engine processes `command` starts; None: what does on each machine,
    where Python may be elsewhere than here. Raises what `application` does."""
    check_arguments(settings)
    read = Settings(**dict(settings))  # type: ignore[arg-type]  # read like variables
    check_devices(read)
    grace = read.shutdown_seconds + MORE_SECONDS
    engines = serve.deployment(EngineReplica).options(
        name="engines",
        max_ongoing_requests=MANY,
        request_router_config=RequestRouterConfig(request_router_class="app.cluster.router.ByName"),
        ray_actor_options={
            "num_cpus": read.cluster_engine_cpus, "num_gpus": read.cluster_engine_gpus
        },
        # They end after the server, whose last requests need them.
        graceful_shutdown_timeout_s=grace + MORE_SECONDS,
        graceful_shutdown_wait_loop_s=0.2,
        logging_config=QUIET,
        **HEALTH,
        **number(read),
    )  # fmt: skip
    server = serve.deployment(serve.ingress()(Server)).options(
        name="server",
        num_replicas=1,
        max_ongoing_requests=MANY,
        ray_actor_options={"num_cpus": 1},
        graceful_shutdown_timeout_s=grace,
        graceful_shutdown_wait_loop_s=0.2,
        logging_config=QUIET,
        **HEALTH,
    )
    bound = engines.bind() if command is None else engines.bind(command)
    return server.bind(bound, dict(settings))


def number(settings: Settings) -> dict[str, Any]:
    """How many engines there are: always as many, or between two bounds by what waits. Where there
    may be none, the server asks for the first one, too: so it learns how long one takes to come."""
    least, most = settings.cluster_engines, max(settings.cluster_max_engines, 1)
    if most <= least:
        return {"num_replicas": least}
    policy = AutoscalingPolicy(
        policy_function="app.cluster.scaling:BacklogPolicy",
        policy_kwargs={"target_seconds": settings.cluster_backlog_seconds},
    )
    scaling = AutoscalingConfig(
        min_replicas=least,
        max_replicas=most,
        upscale_delay_s=5.0,
        downscale_delay_s=settings.cluster_idle_seconds,
        look_back_period_s=REMEMBERED_SECONDS,
        downscale_to_zero_delay_s=HEARD_SECONDS,  # the server says when the last one is idle
        policy=policy,
    )
    return {"autoscaling_config": scaling}
