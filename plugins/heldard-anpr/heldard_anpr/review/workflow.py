"""The states of an entry event's workflow, and the steps between them.

    pending ─┐
    review  ─┼─▶ confirmed ⇄ corrected
    auto    ─┘   rejected  ─▶ pending (reopened)

A step that is not in the table is a conflict; the same step again is one too. Every step is a row.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from heldard.plugin import ConflictError, InvalidError, NotFoundError, Tx, rfc3339
from heldard_anpr.caller import Caller
from heldard_anpr.decisions.recorder import SQL, encoded
from heldard_anpr.engine.voting import edit_distance
from heldard_anpr.plates.confusion import Confusions
from heldard_anpr.plates.formats import Formats
from heldard_anpr.plates.matching import compare

Step = Literal["confirmed", "rejected", "corrected", "pending"]
ALLOWED: dict[str, tuple[Step, ...]] = {
    "auto": ("confirmed", "rejected", "corrected"),
    "pending": ("confirmed", "rejected", "corrected"),
    "review": ("confirmed", "rejected", "corrected"),
    "confirmed": ("corrected", "pending"),
    "corrected": ("confirmed", "corrected", "pending"),
    "rejected": ("pending",),
}


class Note(msgspec.Struct, frozen=True):
    note: str | None = None


class Correction(msgspec.Struct, frozen=True):
    """plate: what is really written on the vehicle."""

    plate: str
    note: str | None = None


def step(
    tx: Tx, event_id: str, to: Step, by: Caller, now_ms: int, note: str | None, plate: str | None = None
) -> dict[str, Any]:
    """Take an event to a state; its row afterwards. Raises NotFoundError, or ConflictError for a step not allowed."""
    found = tx.fetch(SQL["event"], [event_id])
    if not found:
        raise NotFoundError(f"no entry event {event_id!r}")
    row = found[0]
    before = row["workflow_status"]
    if to not in ALLOWED.get(before, ()):
        may = ", ".join(ALLOWED.get(before, ())) or "nothing"
        raise ConflictError(f"an event that is {before} cannot become {to}; it can become {may}", code="workflow_step")
    workflow = {
        "status": to,
        "resolved_by": by.name,
        "resolved_by_id": by.id,
        "resolved_at": rfc3339(now_ms),
        "note": note,
    }
    if to == "pending":
        workflow = {"status": to, "note": note}
    tx.execute(SQL["set_workflow"], [to, encoded(workflow), event_id])
    if plate is not None:
        subject = msgspec.json.decode(row["subject"]) | {"plate": plate, "corrected_from": row["plate"]}
        tx.execute(SQL["set_plate"], [plate, encoded(subject), event_id])
    tx.execute(
        SQL["add_review"],
        [event_id, now_ms, before, to, by.name, by.id, note, row["plate"] if plate else None, plate],
    )
    return tx.fetch(SQL["event"], [event_id])[0]


def learn(tx: Tx, event_id: str, plate: str, confusions: Confusions, formats: Formats) -> int:
    """Count which characters the visit's reads had wrong, against the plate a person saw; how many.

    Reads that are too far off tell nothing about characters. Raises InvalidError for a plate unlike any read: the
    correction is then of another vehicle.
    """
    visits = tx.fetch(SQL["visit_of_event"], [event_id])
    reads = [read for visit in visits for read in tx.fetch(SQL["reads"], [visit["id"]]) if read["text"]]
    near = [read for read in reads if edit_distance(read["text"], plate) <= max(1, len(plate) // 2)]
    if reads and not near:
        raise InvalidError(f"{plate!r} is unlike every read of this visit: reject the event instead")
    counted = 0
    for read in near:
        if read["fate"] != "vote":
            continue
        for change in compare(read["text"], plate, confusions, formats).substitutions:
            if change.read and change.listed:
                tx.execute(SQL["count_confusion"], [change.listed, change.read])
                counted += 1
    return counted
