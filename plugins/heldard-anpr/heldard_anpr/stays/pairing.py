"""Entries and exits paired into stays, inside the unit of work that stores the event."""

from __future__ import annotations

import msgspec

from heldard.plugin import Tx, rfc3339
from heldard_anpr import sql

SQL = sql.load("heldard_anpr.stays")


class Passage(msgspec.Struct, frozen=True):
    """One entry or exit. due_ms: when a stay that begins here becomes an overstay, None for never."""

    event_id: str
    event_type: str
    direction: str
    plate: str
    at_ms: int
    camera_id: str | None
    site_id: str | None
    auth_status: str
    due_ms: int | None = None


def pair(tx: Tx, passage: Passage) -> None:
    """Begin or end the stay of a plate. A direction that is not known does neither."""
    rows = tx.fetch(SQL["inside_of"], [passage.plate])
    if passage.direction == "inbound":
        if rows:
            tx.execute(SQL["lose"], [rows[0]["id"]])
        tx.execute(SQL["enter"], [passage.plate, passage.site_id, passage.auth_status, passage.event_id,
                                  passage.camera_id, passage.at_ms, passage.due_ms])  # fmt: skip
    elif passage.direction == "outbound" and rows:
        tx.execute(SQL["leave"], [passage.event_id, passage.camera_id, passage.at_ms, rows[0]["id"]])


def unpair(tx: Tx, event_id: str) -> None:
    """Take back what an event did, before its amended form is paired."""
    tx.execute(SQL["forget_entry"], [event_id])
    tx.execute(SQL["reopen"], [event_id])


def tell_overstays(tx: Tx, now_ms: int) -> int:
    """An event for each stay that became too long by now, dated when it did; how many."""
    rows = tx.fetch(SQL["overdue"], [now_ms])
    for row in rows:
        tx.execute(SQL["tell_overstay"], [row["due_ms"], row["id"]])
        tx.event(
            "anpr_overstay",
            at_ms=row["due_ms"],
            severity="warning",
            camera_id=row["entry_camera"],
            payload={
                "plate": row["plate"],
                "entry_event_id": row["entry_event"],
                "auth_status": row["auth_status"],
                "entered_at": rfc3339(row["entered_ms"]),
                "allowed_s": (row["due_ms"] - row["entered_ms"]) // 1000,
            },
        )
    return len(rows)
