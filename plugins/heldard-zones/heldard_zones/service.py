"""Zones as people handle them: drawing, editing, reading what they said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from heldard.plugin import ConflictError, Effects, InvalidError, NotFoundError, PluginContext, new_id, rfc3339
from heldard_zones import store
from heldard_zones.consumer import Watched, ZoneConsumer
from heldard_zones.engine.rules import ZoneRow, check_row
from heldard_zones.engine.state import Stay
from heldard_zones.model import (
    Aggregates,
    Bucket,
    Counts,
    OccupancyHistory,
    OccupancyNow,
    OccupancyPoint,
    Stays,
    StayView,
    ZoneCounts,
    ZoneCreate,
    ZoneFigures,
    ZonePatch,
    ZoneVersion,
    offset_text,
    zone_view,
)

T = TypeVar("T")
HOUR_MS = 3_600_000
LAST_MS = 253_402_300_799_000
"""The end of the year 9999: what RFC 3339 can still say."""


class Zones:
    """One per daemon. Edits go through the camera's lane, between two batches, and commit with what they cause."""

    def __init__(self, ctx: PluginContext, consumer: ZoneConsumer) -> None:
        self.ctx = ctx
        self.consumer = consumer
        self.store = store.Store(ctx)
        self._last_number: int | None = None

    # --- drawing ----------------------------------------------------------------------------------------------------

    async def create(self, camera_id: str, asked: ZoneCreate) -> tuple[ZoneRow, bool]:
        """The zone and whether it is new: a camera has one zone of a name, and asking again changes nothing."""
        await self.ctx.camera(camera_id)
        row = self._new_row(camera_id, asked, await self._number())
        check_row(row, self.consumer.timezone)

        def work(effects: Effects) -> tuple[ZoneRow, bool]:
            camera = self.consumer.cameras[camera_id]
            existing = next((known for known in camera.rows if known.name == row.name), None)
            if existing is not None:
                return existing, False
            self._check_room(camera)
            store.insert_zone(effects, row, self.consumer.redraw(camera, [*camera.rows, row], effects))
            return row, True

        return await self._in_lane(camera_id, work)

    async def patch(self, zone_id: str, asked: ZonePatch) -> ZoneRow:
        found = await self.get(zone_id)

        def work(effects: Effects) -> ZoneRow:
            camera = self.consumer.cameras[found.camera_id]
            row = _patched(_current(camera, zone_id), asked, self.ctx.clock.now_ms())
            check_row(row, self.consumer.timezone)
            if any(other.name == row.name and other.id != zone_id for other in camera.rows):
                raise ConflictError(f"this camera has another zone named {row.name!r}", code="zone_name_taken")
            rows = [row if old.id == zone_id else old for old in camera.rows]
            store.update_zone(effects, row, self.consumer.redraw(camera, rows, effects))
            return row

        return await self._in_lane(found.camera_id, work)

    async def delete(self, zone_id: str) -> None:
        found = await self.get(zone_id)

        def work(effects: Effects) -> None:
            camera = self.consumer.cameras[found.camera_id]
            row = _current(camera, zone_id)
            rows = [other for other in camera.rows if other.id != zone_id]
            store.delete_zone(effects, row, self.consumer.redraw(camera, rows, effects))

        await self._in_lane(found.camera_id, work)

    async def get(self, zone_id: str) -> ZoneRow:
        found = await self.store.zone(zone_id)
        if found is None:
            raise NotFoundError("there is no such zone", code="zone_not_found")
        return found

    async def known(self, zone_id: str) -> ZoneRow | None:
        """The zone, or the last that is known of one that was deleted."""
        return await self.store.zone(zone_id) or await self.store.zone_at(zone_id, LAST_MS)

    async def versions(self, zone_id: str, limit: int) -> list[ZoneVersion]:
        """How it was drawn, newest first."""
        return [version_view(found) for found in await self.store.versions_of(zone_id, limit)]

    async def zones(self, camera_id: str) -> list[ZoneRow]:
        await self.ctx.camera(camera_id)
        return await self.store.zones(camera_id)

    async def _in_lane(self, camera_id: str, work: Callable[[Effects], T]) -> T:
        return await self.ctx.in_lane(self.consumer.name, camera_id, work)

    async def _number(self) -> int:
        if self._last_number is None:
            highest = await self.store.highest_number()
            self._last_number = max(highest, self._last_number or 0)
        self._last_number += 1
        return self._last_number

    def _new_row(self, camera_id: str, asked: ZoneCreate, number: int) -> ZoneRow:
        now = self.ctx.clock.now_ms()
        return ZoneRow(
            number=number, id=new_id("zone"), camera_id=camera_id, name=asked.name, kind=asked.kind or "region",
            polygon=asked.polygon, dwell_seconds=max(0.0, asked.dwell_seconds or 0.0), labels=asked.labels or [],
            severity=asked.severity or "info", config={} if asked.config is None else asked.config,
            enabled=asked.enabled is not False, created_ms=now, updated_ms=now,
        )  # fmt: skip

    def proposed(self, camera_id: str, asked: ZoneCreate) -> ZoneRow:
        """A zone that is only tried out. Raises InvalidError like `create`."""
        row = self._new_row(camera_id, asked, 1)
        check_row(row, self.consumer.timezone)
        return row

    def _check_room(self, camera: Watched) -> None:
        limit = self.ctx.settings.max_zones_per_camera
        if len(camera.rows) >= limit:
            raise ConflictError(
                f"this camera has {limit} zones already: delete one, or raise plugins.zones.max_zones_per_camera",
                code="too_many_zones",
            )

    # --- reading ----------------------------------------------------------------------------------------------------

    async def aggregates(self, camera_id: str, from_ms: int, to_ms: int, minutes: int) -> Aggregates:
        size = minutes * 60_000
        rows = await self.store.aggregates(camera_id, from_ms, to_ms, size)
        buckets = [
            Bucket(row["zone_id"], row["zone_name"], row["event_type"], offset_text(row["bucket"] * size), row["count"])
            for row in rows
        ]
        return Aggregates(offset_text(from_ms), offset_text(to_ms), minutes, buckets)

    async def occupancy(self, camera_id: str) -> OccupancyNow:
        rows = await self.store.occupancy(camera_id)
        return OccupancyNow(
            [ZoneFigures(r["zone_id"], r["count"], offset_text(r["updated_ms"]), r["static_count"]) for r in rows]
        )

    async def history(self, zone: ZoneRow, from_ms: int, to_ms: int, limit: int) -> OccupancyHistory:
        rows, truncated = await self.store.occupancy_history(zone.id, from_ms, to_ms, limit)
        spans = [(max(row["at_ms"], from_ms), row["count"], row["static_count"]) for row in rows]
        end = spans[-1][0] if truncated and spans else to_ms
        ends = [*(start for start, _, _ in spans[1:]), end][: len(spans)]
        lasted = [(stop - start, count) for (start, count, _), stop in zip(spans, ends, strict=True)]
        whole = max(1, end - from_ms)
        return OccupancyHistory(
            zone.id, offset_text(from_ms), offset_text(to_ms),
            peak=max((count for _, count, _ in spans), default=0),
            mean=round(sum(ms * count for ms, count in lasted) / whole, 4),
            busy_seconds=sum(ms for ms, count in lasted if count) / 1000,
            points=[OccupancyPoint(rfc3339(at), count, static) for at, count, static in spans],
            truncated=truncated,
        )  # fmt: skip

    async def counts(self, camera_id: str, from_ms: int, to_ms: int) -> Counts:
        found = []
        for row in await self.store.zones(camera_id):
            counted = await self.store.counts(row.id, from_ms, to_ms)
            refused = await self.store.refusals(row.id, from_ms - from_ms % HOUR_MS, to_ms)
            found.append(_counts(row, counted, refused))
        return Counts(offset_text(from_ms), offset_text(to_ms), found)

    def stays(self, camera_id: str) -> Stays:
        """Who is in which zone now, as far as this camera was driven since the start."""
        camera = self.consumer.cameras.get(camera_id)
        if camera is None:
            return Stays([])
        state, found = camera.state, []
        for track in [*state.tracks.values(), *state.parked.values()]:
            for number, stay in track.stays.items():
                zone = camera.zones.by_number[number]
                since = rfc3339(stay.entered or stay.since)
                seen = rfc3339(stay.seen)
                found.append(
                    StayView(zone.id, zone.name, track.track_id, track.label, _word(stay), since, seen,
                             list(track.box), stay.visit or None)
                )  # fmt: skip
        return Stays(found)


def _word(stay: Stay) -> str:
    if not stay.entered:
        return "entering"
    if stay.static:
        return "static"
    return "leaving" if stay.leaving else "inside"


def _current(camera: Watched, zone_id: str) -> ZoneRow:
    row = next((row for row in camera.rows if row.id == zone_id), None)
    if row is None:
        raise NotFoundError("there is no such zone", code="zone_not_found")
    return row


def _patched(row: ZoneRow, asked: ZonePatch, now_ms: int) -> ZoneRow:
    given = {name: getattr(asked, name) for name in asked.__struct_fields__}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "dwell_seconds" in changes:
        changes["dwell_seconds"] = max(0.0, changes["dwell_seconds"])
    return msgspec.structs.replace(row, **changes, updated_ms=now_ms)


def _counts(row: ZoneRow, counted: list[dict[str, Any]], refused: dict[str, int]) -> ZoneCounts:
    events: dict[str, int] = {}
    by_label: dict[str, dict[str, int]] = {}
    for group in counted:
        kind, label = group["event_type"], group["label"] or ""
        events[kind] = events.get(kind, 0) + group["count"]
        of_label = by_label.setdefault(label, {})
        of_label[kind] = of_label.get(kind, 0) + group["count"]
    net = events.get("cross_ab", 0) - events.get("cross_ba", 0) if row.kind == "line" else None
    shadow = isinstance(row.config, dict) and row.config.get("shadow") is True
    return ZoneCounts(row.id, row.name, row.kind, shadow, events, by_label, net, refused)


def time_range(from_text: int | None, to_text: int | None, now_ms: int, default_ms: int) -> tuple[int, int]:
    """(from, to) with defaults: until now, `default_ms` long. Raises InvalidError for a range that is none."""
    to_ms = min(now_ms + 1 if to_text is None else to_text, LAST_MS)
    from_ms = max(to_ms - default_ms if from_text is None else from_text, 0)
    if from_ms >= to_ms:
        raise InvalidError("from: must be before to", code="bad_range")
    return from_ms, to_ms


def version_view(version: store.Version) -> ZoneVersion:
    until = None if version.until_ms is None else rfc3339(version.until_ms)
    return ZoneVersion(rfc3339(version.from_ms), until, zone_view(version.row))
