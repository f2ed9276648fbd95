"""The only code that touches the tables of zones. Statements are in `queries.sql`, each under its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol, TypeVar

import msgspec

from heldard.plugin import Effects, Tx, row_of
from heldard_zones.engine import Occupancy, ZoneEvent
from heldard_zones.engine.rules import ZoneRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Version:
    """How a zone was drawn after `from_ms`, up to and including `until_ms` (None: it still is)."""

    from_ms: int
    until_ms: int | None
    row: ZoneRow

    def stands(self, at_ms: int) -> bool:
        """Whether a batch that comes after `at_ms` meets it."""
        return self.from_ms <= at_ms and (self.until_ms is None or self.until_ms > at_ms)


PRUNE_PAGE = 5000
"""Rows deleted in one unit of work, so that others wait for milliseconds only."""


def _load() -> dict[str, str]:
    text = files("heldard_zones").joinpath("queries.sql").read_text("utf-8")
    found = re.findall(r"^-- name: (\w+)\n((?:(?!^-- name: ).*\n?)*)", text, re.MULTILINE)
    return {name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";") for name, body in found}


SQL = _load()


class Tables(Protocol):
    """What of the plugin's context the store needs."""

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]: ...
    async def write(self, work: Callable[[Tx], T]) -> T: ...


class Store:
    """Reads beside the writer; writes go through effects, so that they commit with what they belong to."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def zones(self, camera_id: str) -> list[ZoneRow]:
        return [_zone(row) for row in await self._tables.fetch(SQL["zones_of_camera"], (camera_id,))]

    async def zone(self, zone_id: str) -> ZoneRow | None:
        rows = await self._tables.fetch(SQL["zone_by_id"], (zone_id,))
        return _zone(rows[0]) if rows else None

    async def highest_number(self) -> int:
        return int((await self._tables.fetch(SQL["highest_number"]))[0]["number"])

    async def versions(self, camera_id: str, from_ms: int, to_ms: int) -> list[Version]:
        """How a camera's zones were drawn in a range, oldest first, those of deleted zones too."""
        rows = await self._tables.fetch(SQL["versions_of_camera"], (camera_id, to_ms, from_ms))
        return [_version(row) for row in rows]

    async def versions_of(self, zone_id: str, limit: int) -> list[Version]:
        """How one zone was drawn, newest first."""
        return [_version(row) for row in await self._tables.fetch(SQL["versions_of_zone"], (zone_id, limit))]

    async def zone_at(self, zone_id: str, at_ms: int) -> ZoneRow | None:
        """A zone as it was at a moment, or as it was first; None when nothing is kept of it."""
        rows = await self._tables.fetch(SQL["version_at"], (zone_id, at_ms))
        rows = rows or await self._tables.fetch(SQL["first_version"], (zone_id,))
        return _version(rows[0]).row if rows else None

    async def event(self, public_id: str) -> dict[str, Any] | None:
        number = row_of("zev", public_id)
        if number is None or number >= 1 << 63:
            return None
        rows = await self._tables.fetch(SQL["event_by_id"], (number,))
        return rows[0] if rows else None

    async def events_of_zone(self, zone_id: str, from_ms: int, to_ms: int, limit: int) -> list[dict[str, Any]]:
        return await self._tables.fetch(SQL["events_of_zone"], (zone_id, from_ms, to_ms, limit))

    async def events(
        self, conditions: dict[str, Any], *, shadow: bool, before: tuple[int, int] | None, limit: int
    ) -> list[dict[str, Any]]:
        """Newest first. conditions: column and operator, such as `camera_id =`, with the value."""
        wanted = dict(conditions)
        if not shadow:
            wanted["shadow ="] = 0
        where = [f"{column} ?" for column in wanted]
        values = list(wanted.values())
        if before is not None:
            where.append("(at_ms, id) < (?, ?)")
            values += before
        # Columns come from our own routes, values are bound.
        sql = f"SELECT * FROM zone_events WHERE {' AND '.join(where)} ORDER BY at_ms DESC, id DESC LIMIT ?"  # noqa: S608
        return await self._tables.fetch(sql, [*values, limit])

    async def occupancy(self, camera_id: str) -> list[dict[str, Any]]:
        return await self._tables.fetch(SQL["occupancy_of_camera"], (camera_id,))

    async def occupancy_history(
        self, zone_id: str, from_ms: int, to_ms: int, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """At most `limit` changes in the range, after the one that stood when it began; and whether there are more."""
        before = await self._tables.fetch(SQL["occupancy_before"], (zone_id, from_ms))
        changes = await self._tables.fetch(SQL["occupancy_between"], (zone_id, from_ms, to_ms, limit + 1))
        return before + changes[:limit], len(changes) > limit

    async def aggregates(self, camera_id: str, from_ms: int, to_ms: int, bucket_ms: int) -> list[dict[str, Any]]:
        return await self._tables.fetch(SQL["aggregates"], (bucket_ms, camera_id, from_ms, to_ms))

    async def counts(self, zone_id: str, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        return await self._tables.fetch(SQL["counts_of_zone"], (zone_id, from_ms, to_ms))

    async def refusals(self, zone_id: str, from_ms: int, to_ms: int) -> dict[str, int]:
        """By gate; the hours that begin in the range."""
        rows = await self._tables.fetch(SQL["refusals_of_zone"], (zone_id, from_ms, to_ms))
        return {row["gate"]: row["count"] for row in rows}

    async def prune(self, events_before_ms: int, history_before_ms: int) -> int:
        """Delete what is old, page by page; how many rows that were."""
        total = 0
        for query, before in (
            ("prune_events", events_before_ms),
            ("prune_occupancy_log", history_before_ms),
            ("prune_versions", min(events_before_ms, history_before_ms)),
        ):
            gone = PRUNE_PAGE
            while gone == PRUNE_PAGE:
                gone = await self._tables.write(_page(query, before))
                total += gone
        await self._tables.write(lambda tx: tx.execute(SQL["prune_refusals"], (history_before_ms,)))
        return total

    async def cameras(self) -> list[str]:
        """Ids of cameras that have zones."""
        return [row["camera_id"] for row in await self._tables.fetch(SQL["cameras_with_zones"])]

    async def forget_camera(self, camera_id: str) -> None:
        await self._tables.write(lambda tx: _forget(tx, camera_id))


def _page(query: str, before_ms: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        return len(tx.execute(SQL[query] + " RETURNING 1", (before_ms, PRUNE_PAGE)))

    return work


def _forget(tx: Tx, camera_id: str) -> None:
    for what in ("occupancy_log", "refusals", "occupancy", "events", "versions", "zones"):
        tx.execute(SQL[f"delete_{what}_of_camera"], (camera_id,))


# --- what goes into effects -----------------------------------------------------------------------------------------


def insert_zone(effects: Effects, row: ZoneRow, at_ms: int) -> None:
    effects.execute(
        SQL["insert_zone"],
        (row.number, row.id, row.camera_id, *_drawn(row), row.created_ms, row.updated_ms),
    )
    _begin_version(effects, row, at_ms)


def update_zone(effects: Effects, row: ZoneRow, at_ms: int) -> None:
    effects.execute(SQL["update_zone"], (*_drawn(row), row.updated_ms, row.number))
    effects.execute(SQL["end_version"], (at_ms, row.number))
    _begin_version(effects, row, at_ms)


def delete_zone(effects: Effects, row: ZoneRow, at_ms: int) -> None:
    for query in ("zone", "occupancy_of_zone", "occupancy_log_of_zone", "refusals_of_zone"):
        effects.execute(SQL[f"delete_{query}"], (row.id,))
    effects.execute(SQL["end_version"], (at_ms, row.number))


def _begin_version(effects: Effects, row: ZoneRow, at_ms: int) -> None:
    effects.execute(
        SQL["begin_version"],
        (at_ms, row.number, row.id, row.camera_id, *_drawn(row), row.created_ms, row.updated_ms),
    )


def put_occupancy(effects: Effects, figures: Occupancy) -> None:
    zone = figures.zone
    row = (zone.id, effects.camera_id, figures.count, figures.static, figures.at)
    effects.execute(SQL["put_occupancy"], row)
    effects.execute(SQL["log_occupancy"], (zone.id, figures.at, figures.count, figures.static))


def insert_event(effects: Effects, event: ZoneEvent, evidence: str | None, now_ms: int) -> None:
    zone = event.zone
    box = None if event.box is None else _text(event.box)
    effects.execute(
        SQL["insert_event"],
        (
            effects.camera_id, zone.id, zone.name, event.type, event.at, event.track_id, event.task, event.label,
            event.confidence, box, event.dwell_s, event.visit, event.reason, zone.severity, zone.shadow, event.frame,
            evidence, now_ms,
        ),
    )  # fmt: skip


def add_refusals(effects: Effects, zone_id: str, hour_ms: int, counts: dict[str, int]) -> None:
    for gate, count in counts.items():
        effects.execute(SQL["add_refusals"], (zone_id, hour_ms, gate, count))


def _drawn(row: ZoneRow) -> tuple[Any, ...]:
    return (
        row.name, row.kind, _text(row.polygon), row.dwell_seconds, _text(row.labels), row.severity, _text(row.config),
        row.enabled,
    )  # fmt: skip


def _zone(row: dict[str, Any]) -> ZoneRow:
    parsed = {name: msgspec.json.decode(row[name]) for name in ("polygon", "labels", "config")}
    return msgspec.convert({**row, **parsed, "enabled": bool(row["enabled"])}, ZoneRow)


def _version(row: dict[str, Any]) -> Version:
    return Version(row["from_ms"], row["until_ms"], _zone(row))


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
