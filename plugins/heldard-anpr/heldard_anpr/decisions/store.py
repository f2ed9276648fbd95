"""Entry events, visits and records read beside the writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from heldard.plugin import InvalidError, NotFoundError, PluginContext, rfc3339
from heldard_anpr import sql
from heldard_anpr.caller import shown
from heldard_anpr.decisions.model import (
    DecisionRecord,
    EntryEvent,
    Explanation,
    Figures,
    OpeningRecord,
    ReadRecord,
    ReviewRecord,
    VisitLine,
    VisitRecord,
)
from heldard_anpr.decisions.recorder import SQL

Row = Mapping[str, Any]
Visible = Callable[[str | None], bool]
_JSON = ("subject", "authorization", "evidence", "workflow", "audit")
PAGE = 500


def entry_event(row: Row) -> EntryEvent:
    values = {name: row[name] for name in EntryEvent.__struct_fields__}
    for name in _JSON:
        values[name] = msgspec.json.decode(values[name])
    values |= {"timestamp": rfc3339(row["timestamp"]), "created_at": rfc3339(row["created_at"])}
    return EntryEvent(**values)


async def event(ctx: PluginContext, event_id: str, visible: Visible) -> EntryEvent:
    """Raises NotFoundError, also for one the caller may not see."""
    rows = await ctx.fetch(SQL["event"], [event_id])
    if not rows or not visible(rows[0]["camera_id"]):
        raise NotFoundError(f"no entry event {event_id!r}")
    return entry_event(rows[0])


async def events(
    ctx: PluginContext, conditions: dict[str, object], limit: int, visible: Visible, cursor: str | None = None
) -> tuple[list[EntryEvent], str | None]:
    """Newest first, and the cursor of the next page. Raises InvalidError for a cursor that is none."""
    found: list[EntryEvent] = []
    at = _read_cursor(cursor)
    while True:
        clause, values = sql.where(conditions)
        if at is not None:
            clause += (" AND " if clause else "WHERE ") + "(timestamp, id) < (?, ?)"
            values += at
        query = f"SELECT * FROM entry_events {clause} ORDER BY timestamp DESC, id DESC LIMIT {PAGE}"  # noqa: S608 - fixed
        rows = await ctx.fetch(query, values)
        for row in rows:
            if visible(row["camera_id"]):
                found.append(entry_event(row))
            if len(found) == limit:
                return found, f"{row['timestamp']}.{row['id']}"
        if len(rows) < PAGE:
            return found, None
        at = [rows[-1]["timestamp"], rows[-1]["id"]]


def _read_cursor(cursor: str | None) -> list[object] | None:
    if cursor is None:
        return None
    at_ms, _, event_id = cursor.partition(".")
    if not at_ms.isdigit() or len(at_ms) > 15 or not event_id:
        raise InvalidError("cursor: not one of ours; begin again without it", code="bad_cursor")
    return [int(at_ms), event_id]


async def explanation(ctx: PluginContext, event_id: str, visible: Visible) -> Explanation:
    found = await event(ctx, event_id, visible)
    visits = [await _visit(ctx, row) for row in await ctx.fetch(SQL["visit_of_event"], [event_id])]
    return Explanation(found, visits, await _openings(ctx, event_id), await reviews(ctx, event_id))


async def visit(ctx: PluginContext, visit_id: str, visible: Visible) -> VisitRecord:
    """Raises NotFoundError."""
    rows = await ctx.fetch(SQL["visit"], [visit_id])
    if not rows or not visible(rows[0]["camera_id"]):
        raise NotFoundError(f"no visit {visit_id!r}")
    return await _visit(ctx, rows[0])


async def visits(ctx: PluginContext, conditions: dict[str, object], limit: int, visible: Visible) -> list[VisitLine]:
    """Newest first."""
    clause, values = sql.where(conditions)
    query = f"SELECT * FROM anpr_visits {clause} ORDER BY started_ms DESC, id LIMIT ?"  # noqa: S608 - fixed conditions
    rows = await ctx.fetch(query, [*values, limit])
    return [
        VisitLine(row["id"], row["camera_id"], rfc3339(row["started_ms"]), shown(row["ended_ms"]), row["reads"],
                  row["event_id"])
        for row in rows
        if visible(row["camera_id"])
    ]  # fmt: skip


async def figures(ctx: PluginContext, begins: int, ends: int, visible: Visible) -> list[Figures]:
    """Of every camera that had a visit in that time."""
    reads: dict[str, dict[str, int]] = {}
    for row in await ctx.fetch(SQL["read_figures"], [begins, ends]):
        reads.setdefault(row["camera_id"], {})[row["fate"]] = row["count"]
    rows = await ctx.fetch(SQL["visit_figures"], [begins, ends])
    return [Figures(**row, reads=reads.get(row["camera_id"], {})) for row in rows if visible(row["camera_id"])]


async def _visit(ctx: PluginContext, row: Row) -> VisitRecord:
    reads = [_read(row["id"], read) for read in await ctx.fetch(SQL["reads"], [row["id"]])]
    decisions = [
        DecisionRecord(made["number"], rfc3339(made["at_ms"]), msgspec.json.decode(made["record"]))
        for made in await ctx.fetch(SQL["decisions"], [row["id"]])
    ]
    return VisitRecord(
        row["id"], row["camera_id"], rfc3339(row["started_ms"]), rfc3339(row["seen_ms"]), shown(row["ended_ms"]),
        row["event_id"], bool(row["repeats"]), reads, decisions,
    )  # fmt: skip


def _read(visit_id: str, row: Row) -> ReadRecord:
    kept = row["evidence"] is not None
    return ReadRecord(
        number=row["number"],
        at=rfc3339(row["at_ms"]),
        frame_id=row["frame_id"],
        captured_at=shown(row["captured_ms"]),
        track_id=row["track_id"],
        raw=row["raw"],
        text=row["text"],
        confidence=row["confidence"],
        chars=msgspec.json.decode(row["chars"]),
        weight=row["weight"],
        plate_box=row["plate_box"] and msgspec.json.decode(row["plate_box"]),
        vehicle_box=row["vehicle_box"] and msgspec.json.decode(row["vehicle_box"]),
        fate=row["fate"],
        evidence=f"/media/snapshots/{row['evidence']}" if kept else None,
        crop=f"/api/v1/anpr/visits/{visit_id}/reads/{row['number']}/crop" if kept else None,
    )


async def _openings(ctx: PluginContext, event_id: str) -> list[OpeningRecord]:
    rows = await ctx.fetch("SELECT * FROM anpr_openings WHERE event_id = ? ORDER BY asked_ms", [event_id])
    return [
        OpeningRecord(row["camera_id"], rfc3339(row["asked_ms"]), row["asked_by"], row["state"],
                      shown(row["ended_ms"]), row["detail"])
        for row in rows
    ]  # fmt: skip


async def reviews(ctx: PluginContext, event_id: str) -> list[ReviewRecord]:
    return [
        ReviewRecord(rfc3339(row["at_ms"]), row["from_status"], row["to_status"], row["by_name"], row["note"],
                     row["plate_before"], row["plate_after"])
        for row in await ctx.fetch(SQL["reviews"], [event_id])
    ]  # fmt: skip
