"""What is to be forgotten, where it may stand, and how it is taken out of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from heldard.plugin import EventType

EVENT_TYPES = (EventType("data_erased", "What was stored about a subject was erased; the counts say where it stood."),)


@dataclass(frozen=True, slots=True)
class Job:
    """An erasure under way. place, after: where the search goes on. counts: what went so far, by place."""

    id: str
    kind: str
    subject: str
    options: Mapping[str, Any]
    place: str
    after: int
    counts: Counter[str]


class ErasureView(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure. counts: what went, by place. error: why it waits, when it does. The subject is not shown."""

    id: str
    kind: str
    state: Literal["running", "done"]
    counts: dict[str, int]
    asked_by: str
    asked_at: str
    ended_at: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """A table of the kernel that holds texts of workers and plugins. json, texts: its columns."""

    name: str
    json: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


OWN = "own"
"""The place that is the plugin's own tables."""

PLACES = (
    Place("detections", json=("attributes",)),
    Place("actions", json=("payload", "outcome")),
    Place("audit", texts=("target_id",)),
    Place(OWN),
    Place("events", json=("payload",)),
    Place("deliveries", json=("body",)),
)
"""In the order they are gone through: what comes about meanwhile comes about further down."""

FIRST, DONE = PLACES[0].name, "done"


def without(value: Any, named: Callable[[str], bool]) -> Any:
    """The JSON value with null in place of each text, and without each key, that names the subject."""
    if isinstance(value, str):
        return None if named(value) else value
    if isinstance(value, list):
        return [without(part, named) for part in value]
    if isinstance(value, dict):
        return {key: without(part, named) for key, part in value.items() if not named(key)}
    return value


def redacted(text: str | None, named: Callable[[str], bool]) -> str | None:
    """JSON text without the subject; None when nothing in it names the subject."""
    if text is None:
        return None
    before = msgspec.json.decode(text)
    after = without(before, named)
    return None if after == before else msgspec.json.encode(after).decode()
