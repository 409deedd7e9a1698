"""The format of log lines: text for people, or JSON with one object on each line.

All other modules log with the standard library and pass fields in `extra`. Fields that belong to
every line of a request are bound with `structlog.contextvars`.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["text", "json"]


def configure(log_format: Format) -> None:
    """Write what this process logs, from level INFO on, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
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
            _without_colours,
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


def _without_colours(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop uvicorn's second copy of a message, with escape sequences for a terminal's colours."""
    event.pop("color_message", None)
    return event
