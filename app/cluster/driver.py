"""`ddpm serve --cluster auto`: Ray on this machine, from the settings to the exit status."""

import contextlib
import importlib.util
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import logs
from app.address import check_exposure, listen, local_url
from app.cluster.checks import check_devices, check_temporary_folder
from app.cluster.local_ray import CannotStart, ended_part, first_line, local_ray, temporary_folder
from app.cluster.signals import Signals
from app.environment import PREFIX
from app.main import create_app
from app.serve import log_address, print_address, warn_of
from app.settings import SECRETS, SettingError, Settings
from app.settings.models import name_and_checkpoint
from app.tls import check_certificate

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

log = logging.getLogger("ddpm.cluster")

MORE_SECONDS = 5.0
"""Time that the server has for saying that its last requests are answered, after their own."""
LOOK_SECONDS = 0.2
"""How often to look whether a signal has come."""


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 1 when the server could not go on. Raises
    SettingError before anything is served."""
    logs.configure(settings.log_format, settings.log_level)
    warn_of(os.environ)
    port = check(settings)
    with Signals(hangup_stops=not settings.api_keys_file) as signals, temporary_folder() as folder:
        try:
            os.environ.update(ray_variables(folder))
            os.environ.update(as_variables(settings))
            with local_ray(settings, folder, signals):
                return serve(settings, port, signals)
        except (KeyboardInterrupt, SystemExit):  # the latter of Ray's handler, while it starts
            if not signals.is_stopping:
                raise
            log.info("stopped before it was ready")
            return 0
        except CannotStart as error:
            sys.stderr.write(f"ddpm serve: {error}\n")
            return 1


def check(settings: Settings) -> int:
    """The port for Ray's proxy. Raises SettingError for what the server's own process would refuse:
    nobody would read what Ray makes of that."""
    check_certificate(settings)
    if importlib.util.find_spec("ray") is None:
        raise SettingError("cluster", settings.cluster, "it needs the extra 'cluster'")
    check_temporary_folder()
    check_devices(settings)
    port = free_port(settings)
    create_app(settings, log.error)
    return port


def free_port(settings: Settings) -> int:
    """The port for Ray's proxy. Raises SettingError where it may not be used, or is in use."""
    sockets = listen(settings.host, settings.port)
    check_exposure(sockets, settings)
    port = int(sockets[0].getsockname()[1])
    for listening in sockets:
        listening.close()
    return port


def ray_variables(folder: Path) -> dict[str, str]:
    """The environment of Ray's processes, where the user has not chosen otherwise: only who has a
    token may use them, which only this user can read."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    chosen = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "GRPC_VERBOSITY": "ERROR",
        "RAY_COLOR_PREFIX": "0",
        "RAY_DEDUP_LOGS": "0",
        # Engines are as important as without Ray, which runs its workers at 15 by default.
        "RAY_worker_niceness": "0",
        # A proxy that has died is started again after seconds, instead of half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
        **LESS_TO_DO,
    }
    return {name: value for name, value in chosen.items() if name not in os.environ}


LESS_TO_DO = {
    # Ray's controller looks at everything so often, and asks Ray for the nodes each time: 0.1.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # Ray's own metrics, which nobody reads here: counted in every process, and told by an agent.
    "RAY_enable_metrics_collection": "0",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    "RAY_event_stats": "0",
    # Looks for new log files twice a second, instead of ten times.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1",
}
"""What Ray's processes do in the background, as seldom as does: engines need the processors."""


def as_variables(settings: Settings) -> dict[str, str]:
    """The settings that were given as variables for a process that works in another folder."""
    found = {"jobs_folder": str(settings.jobs_folder.resolve())}
    for name in settings.model_fields_set - found.keys():
        value = getattr(settings, name)
        if name == "checkpoint":
            value = ",".join(map(absolute, value))
        elif name in SECRETS:
            value = value.get_secret_value()
        elif name in FILES:
            value = str(Path(value).resolve()) if value else ""
        if value is not None:
            found[name] = str(value)
    return {f"{PREFIX}{name.upper()}": value for name, value in found.items()}


FILES = {"api_keys_file", "tls_certificate", "tls_key", "cache"}
"""Settings that are paths."""


def absolute(entry: str) -> str:
    """A checkpoint as the setting has it, by its whole path if it is a folder here."""
    name, checkpoint = name_and_checkpoint(entry)
    folder = Path(checkpoint)
    return f"{name}={folder.resolve()}" if folder.is_dir() else entry


def serve(settings: Settings, port: int, signals: Signals) -> int:
    """Deploy the application, and wait for a signal or for the server's failure. Raises
    CannotStart."""
    from ray import serve

    from app.cluster.deployments import NAME, QUIET, application

    try:
        with signals.interrupting():
            serve.start(http_options=http_options(settings, port), logging_config=QUIET)
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
            server = serve.run(application({}), name=NAME)
    except Exception as error:
        log.debug("Ray Serve cannot deploy the application", exc_info=True)
        raise CannotStart(f"Ray Serve cannot start: {first_line(error)}") from None
    log.info("starting: %d engines", settings.cluster_engines)
    failure = wait(server, signals, lambda: announce(settings, port))
    if failure:
        sys.stderr.write(f"ddpm serve: {failure}\n")
    log.info("stopping")
    drain(server, signals, settings.shutdown_seconds + MORE_SECONDS)
    return 1 if failure else 0


def drain(server: "DeploymentHandle[Any]", signals: Signals, seconds: float) -> None:
    """Wait for the last requests: so long, and not where nobody answers them any more."""
    drained, until = server.drain.remote(), time.monotonic() + seconds
    with contextlib.suppress(Exception):  # there may be no server to drain
        while not (signals.is_hurried or ended_part() == "raylet" or has_result(drained)):
            if time.monotonic() > until:
                return


def announce(settings: Settings, port: int) -> None:
    """Tell where the page is."""
    url = local_url(settings.host, port, settings.scheme)
    (log_address if settings.log_format == "json" else print_address)(url)


def http_options(settings: Settings, port: int) -> Mapping[str, Any]:
    """What Ray's proxy is told."""
    return {
        "host": settings.host,
        "port": port,
        "keep_alive_timeout_s": settings.keep_alive_seconds,
        "ssl_certfile": settings.tls_certificate or None,
        "ssl_keyfile": (settings.tls_key or settings.tls_certificate) or None,
    }


def wait(server: "DeploymentHandle[Any]", signals: Signals, on_ready: Callable[[], None]) -> str:
    """Return when a signal has come to stop, or with the reason why the server cannot go on.
    `on_ready` is called when it is ready for the first time. SIGHUP has it read its keys again."""
    ready, failed, is_ready = server.ready.remote(), server.failure.remote(), False
    hangups = signals.hangups
    while not signals.is_stopping:
        if ended := ended_part():
            return f"Ray's process {ended} has ended, and nothing can be served without it"
        try:
            if signals.hangups > hangups:
                hangups = signals.hangups
                server.read_keys.remote()
            if not is_ready and has_result(ready):
                is_ready = True
                on_ready()
            if has_result(failed):
                break
        except Exception as error:  # Ray's: the server's process is gone, and Ray starts another
            log.warning("the server died: %s", first_line(error))
            ready, failed = server.ready.remote(), server.failure.remote()
    reason = "" if signals.is_stopping else str(failed.result())
    for call in (ready, failed):
        call.cancel()  # or the server would be waited for
    return reason


def has_result(call: Any) -> bool:
    """Wait for a call a little; is it over?"""
    try:
        call.result(timeout_s=LOOK_SECONDS)
    except TimeoutError:
        return False
    return True
