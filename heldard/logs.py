"""Structured logs on standard error: text for people, JSON for journald."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from heldard.config import LogSettings

_SECRET_KEYS = re.compile(r"password|secret|token|authorization|cookie|api_key", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]*@")
_TOKENS = re.compile(r"\bvo[ks]_[0-9a-f]{8,}")


def remove_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: values of telling keys, users in URLs and our own tokens become `***`."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _TOKENS.sub("***", _USER_INFO.sub("***@", value))
    return event


def configure(settings: LogSettings) -> None:
    """Set up structlog and send the standard library's warnings the same way."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        remove_secrets,
    ]
    final: list[Any] = (
        [structlog.processors.format_exc_info, remove_secrets, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=shared + final,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
