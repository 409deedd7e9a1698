"""Log lines: text for people, or JSON with one line an event. The only module that formats them.

Everybody logs with the standard library; fields go in `extra`, and what belongs to every line of a
request is bound with `structlog.contextvars`.
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
    """Send what this process logs to stderr, from level INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def formatter(log_format: Format) -> logging.Formatter:
    """The formatter: time (UTC), level, logger, event, and the fields."""
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
    """uvicorn says some of its messages twice."""
    event.pop("color_message", None)
    return event
