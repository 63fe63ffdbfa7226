"""Logging: structlog and the standard library's loggers end in one handler on stderr.

Lines for people when stderr is a terminal, JSON lines otherwise. What callers sent cannot begin a new line or move a
terminal's cursor: JSON escapes it, and so does escape_values for the other form.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Literal, TextIO, get_args

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from lockd.escape import escaped

Format = Literal["auto", "json", "text"]
Level = Literal["debug", "info", "warning", "error"]
FORMATS: tuple[Format, ...] = get_args(Format)
LEVELS: tuple[Level, ...] = get_args(Level)

_GRPC = "grpc._cython.cygrpc"

_QUIETER = {"asyncio": logging.INFO, "grpc": logging.INFO, "pysyncobj": logging.INFO}  # at debug, they speak always


def configure(level: Level = "info", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Replaces whatever logging was configured before. stream: stderr unless given."""
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format, stream)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.getLogger(_GRPC).filters[:] = [_is_no_departure]
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers made before this call follow it
    )


def _is_no_departure(record: logging.LogRecord) -> bool:
    """gRPC logs an error, with a traceback, for each client that leaves while an answer is on its way."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def escape_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Tracebacks keep their lines."""
    return {
        key: escaped(value, keep="\n\t" if key in ("exception", "stack") else "") if isinstance(value, str) else value
        for key, value in event.items()
    }


def lead_with_the_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    return {key: event[key] for key in ("timestamp", "level", "logger", "event") if key in event} | dict(event)


def _rendering(format: Format, stream: TextIO) -> list[Processor]:
    is_terminal = stream.isatty()
    if format == "json" or (format == "auto" and not is_terminal):
        return [structlog.processors.format_exc_info, lead_with_the_event, structlog.processors.JSONRenderer()]
    colors = is_terminal and not os.environ.get("NO_COLOR")
    plain: Callable[..., None] = structlog.dev.plain_traceback
    return [
        structlog.processors.format_exc_info,
        escape_values,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
    ]
