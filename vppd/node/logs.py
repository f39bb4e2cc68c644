"""Logs: JSON lines for machines, aligned text for a terminal; always to stderr."""

from __future__ import annotations

import logging
import sys

import structlog

from vppd.config.node import LogFormat, LogLevel


def configure_logs(level: LogLevel, form: LogFormat) -> None:
    """Set up structlog for this process.

    Args:
        level: below this nothing is written.
        form: ``auto`` is text on a terminal and JSON elsewhere.
    """
    text = form == "console" or (form == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer()
            if text
            else structlog.processors.JSONRenderer(sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
