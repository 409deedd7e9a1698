"""The format of log lines: text for people, or JSON with one object on each line.

All other modules log with the standard library and pass fields in `extra`. Fields that belong to
every line of a request are bound with `structlog.contextvars`. The server's loggers are named by
their subject: `ddpm.server`, `ddpm.access`, `ddpm.engine`, `ddpm.jobs` and `ddpm.openvino`.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

OURS = "ddpm"
"""The logger above all of ours."""
SUBJECTS = {"uvicorn": "ddpm.server", "alembic": "ddpm.jobs"}
"""The names under which lines of libraries are shown, by the library's logger."""


def configure(log_format: Format, level: Level = "info") -> None:
    """Write what this process logs to standard error: our lines from `level` on.

    Those of libraries are about themselves. They are written from WARNING on, or from INFO on where
    ours are from DEBUG on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format))
    number = logging.getLevelNamesMapping()[level.upper()]
    of_libraries = logging.INFO if number == logging.DEBUG else max(number, logging.WARNING)
    logging.basicConfig(level=of_libraries, handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(number)
    logging.captureWarnings(True)


def formatter(log_format: Format) -> logging.Formatter:
    """A formatter that shows time (UTC), level, logger, event and fields."""
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            ExtraAdder(),
            structlog.processors.TimeStamper("iso"),
            _without_additions,
            _by_subject,
        ],
        processors=[ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
    )


def _renderers(log_format: Format) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Values as Python writes them: a line break in a path cannot begin a line of its own.
    return [
        ConsoleRenderer(
            colors=False, repr_native_str=True, pad_event_to=0, exception_formatter=plain_traceback
        )
    ]


def _without_additions(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop uvicorn's second copy of a message, with escape sequences for a terminal's colours, and
    Ray's second time."""
    event.pop("color_message", None)
    event.pop("_ray_timestamp_ns", None)
    return event


def _by_subject(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name a library's lines as ours of the same subject: `uvicorn.error` has all its lines."""
    library = str(event["logger"]).partition(".")[0]
    event["logger"] = SUBJECTS.get(library, event["logger"])
    return event
