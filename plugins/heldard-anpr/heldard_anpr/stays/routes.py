"""HTTP of stays, and the visitor's check-in and check-out by hand."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from aiohttp import web

from heldard.plugin import Endpoint, PluginContext, Query, Tx, new_id, rfc3339, route
from heldard_anpr import sql
from heldard_anpr.caller import Caller, caller, limited, moment, plate_of, sees, shown
from heldard_anpr.decisions.recorder import SQL as DECISIONS
from heldard_anpr.decisions.recorder import encoded
from heldard_anpr.registry import service
from heldard_anpr.registry.model import Pass
from heldard_anpr.stays.pairing import SQL


class Stay(msgspec.Struct, frozen=True):
    """state: inside, left, lost (came in again without having been seen to leave). stay_s: until now while inside."""

    plate: str
    state: str
    auth_status: str
    entered_at: str
    entry_camera: str | None
    entry_event: str
    left_at: str | None
    exit_camera: str | None
    exit_event: str | None
    stay_s: int
    due_at: str | None
    overstayed: bool


class InsideQuery(Query, frozen=True):
    limit: int = 500


class StaysQuery(Query, frozen=True, rename={"from_": "from"}):
    """from, to: when they came in."""

    plate: str | None = None
    from_: str | None = None
    to: str | None = None
    state: Literal["inside", "left", "lost"] | None = None
    limit: int = 500


def routes(ctx: PluginContext) -> list[Endpoint]:
    def stay(row: dict[str, Any], now_ms: int) -> Stay:
        until = row["left_ms"] if row["left_ms"] is not None else now_ms
        overdue = row["due_ms"] is not None and until > row["due_ms"]
        return Stay(
            row["plate"], row["state"], row["auth_status"], rfc3339(row["entered_ms"]), row["entry_camera"],
            row["entry_event"], shown(row["left_ms"]), row["exit_camera"], row["exit_event"],
            max(0, until - row["entered_ms"]) // 1000, shown(row["due_ms"]), overdue,
        )  # fmt: skip

    @route("GET", "/api/v1/anpr/inside", capability="events:read")
    async def inside(request: web.Request, query: InsideQuery) -> list[Stay]:
        """Who is inside now, longest first."""
        now = ctx.clock.now_ms()
        rows = await ctx.fetch(SQL["inside"], [limited(query.limit, 5000)])
        return [stay(row, now) for row in rows if sees(request, row["entry_camera"])]

    @route("GET", "/api/v1/anpr/stays", capability="events:read")
    async def stays(request: web.Request, query: StaysQuery) -> list[Stay]:
        """Stays, newest first."""
        clause, values = sql.where({
            "plate = ?": None if query.plate is None else plate_of(query.plate),
            "entered_ms >= ?": moment(query.from_, "from"), "entered_ms < ?": moment(query.to, "to"),
            "state = ?": query.state,
        })  # fmt: skip
        text = f"SELECT * FROM anpr_stays {clause} ORDER BY entered_ms DESC, id DESC LIMIT ?"  # noqa: S608 - fixed
        now = ctx.clock.now_ms()
        rows = await ctx.fetch(text, [*values, limited(query.limit, 5000)])
        return [stay(row, now) for row in rows if sees(request, row["entry_camera"])]

    @route("POST", "/api/v1/passes/{id}/checkin", capability="gate:operate", unscoped=True)
    async def check_in(request: web.Request, id: str) -> Pass:  # noqa: A002 - the path's word
        """A visitor comes in, said by a person."""
        by, now = caller(request), ctx.clock.now_ms()
        return await ctx.write(lambda tx: _by_hand(tx, id, "visitor_checkin", by, now))

    @route("POST", "/api/v1/passes/{id}/checkout", capability="gate:operate", unscoped=True)
    async def check_out(request: web.Request, id: str) -> Pass:  # noqa: A002 - the path's word
        """A visitor leaves, said by a person."""
        by, now = caller(request), ctx.clock.now_ms()
        return await ctx.write(lambda tx: _by_hand(tx, id, "visitor_checkout", by, now))

    return [inside, stays, check_in, check_out]


def _by_hand(tx: Tx, pass_id: str, event_type: str, by: Caller, now_ms: int) -> Pass:
    """Move the pass and write the entry event that a gate would have written."""
    arrives = event_type == "visitor_checkin"
    found = service.check_in(tx, pass_id, now_ms) if arrives else service.check_out(tx, pass_id, now_ms)
    workflow = {
        "status": "confirmed", "resolved_by": by.name, "resolved_by_id": by.id, "resolved_at": rfc3339(now_ms)
    }  # fmt: skip
    tx.execute(DECISIONS["add_event"], {
        "id": new_id("evt"), "site_id": found.site_id, "camera_id": None, "event_type": event_type,
        "timestamp": now_ms, "direction": "inbound" if arrives else "outbound", "plate": found.plate_norm,
        "plate_confidence": None,
        "subject": encoded({"type": "visitor", "name": found.visitor_name, "plate": found.plate}),
        "authorization": encoded({"status": "matched", "source": "visitor_pass", "entry_id": found.id}),
        "auth_status": "matched", "evidence": "{}", "workflow_status": "confirmed", "workflow": encoded(workflow),
        "audit": encoded({"created_by": by.name}), "track_id": None, "seen_ms": now_ms, "created_at": now_ms,
    })  # fmt: skip
    return found
