"""Frame ids: `<task>:<capture ms>`, or the same with the capture time as RFC 3339, as upstream's worker writes it."""

from __future__ import annotations

from heldard.clock import parse_rfc3339


def parse(frame_id: str) -> tuple[str, int] | None:
    """(task id, capture ms) of a canonical frame id in either spelling; None for any other text."""
    task_id, _, when = frame_id.partition(":")
    if not task_id or not when:
        return None
    if when.isascii() and when.isdigit() and len(when) <= 15:
        return task_id, int(when)
    try:
        return task_id, parse_rfc3339(when)
    except ValueError:
        return None


def canonical(task_id: str, captured_ms: int) -> str:
    return f"{task_id}:{captured_ms}"
