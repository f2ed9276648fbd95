"""Structured logs on standard error: text for people, JSON for journald."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from heldard.config import LogSettings

_SECRET_KEYS = re.compile(r"password|secret|token|authorization|cookie|api_key", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]*@")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
_TOKENS = re.compile(r"\bvo[ks]_[0-9a-f]{8,}")


def remove_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: values of telling keys, users in URLs and our own tokens become `***`, however deep they lie."""
    for key, value in event.items():
        event[key] = _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if _SECRET_KEYS.search(key) and value is not None:
        return "***"
    if isinstance(value, str):
        return _TOKENS.sub("***", _USER_INFO.sub("***@", value))
    if isinstance(value, Mapping):
        return {inner: _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item) for item in value]
    return value


def for_journal(_logger: Any, method: str, line: str) -> str:
    """A last processor: the priority in front, as journald reads it from a service's standard error."""
    return f"<{_PRIORITIES.get(method, 6)}>{line}"


def goes_to_journal(environment: Mapping[str, str]) -> bool:
    """Whether standard error is a stream of journald's."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def configure(settings: LogSettings) -> None:
    """Set up structlog, and send what libraries log from warning on the same way. May be called again."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        remove_secrets,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    journal: list[Any] = [for_journal] if goes_to_journal(os.environ) else []
    structlog.configure(
        processors=[*shared, renderer, *journal],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[_name_library, remove_meta, renderer, *journal], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _name_library(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["library"] = event["_record"].name
    return event
